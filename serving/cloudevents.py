"""Predictions as CloudEvents 1.0 in JSON, in the format of KServe's payload logger.

Two events per prediction with one id: the request as the predictor saw it (looked-up
features included) and the response.
Format: kserve ``pkg/logger/worker.go``; CloudEvents JSON batch format 1.0; CloudEvents
HTTP protocol binding 1.0.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import orjson

from noria.cloudevents import REQUEST_TYPE, RESPONSE_TYPE, VERSION_ANNOTATION, encode_attribute
from serving.predicted import Predicted, Source

_SOURCE: Final = "http://localhost:9081/"
_DATATYPE_OF_KIND: Final = {"f": "FP64", "i": "INT64", "u": "UINT64", "b": "BOOL"}


class EventWriter:
    """Writes the events of one model version."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._annotations = orjson.dumps({VERSION_ANNOTATION: source.version}).decode()
        # A parameter of the protocol is a text or a number: the list is JSON in a text.
        self._parameters = {"redacted": orjson.dumps(sorted(source.redact)).decode()}

    def events(self, predicted: Predicted) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the request's and the response's event."""
        source, outcome = self._source, predicted.outcome
        request: dict[str, Any] = {
            "id": predicted.id,
            "inputs": _tensors(outcome.columns, source.hidden),
        }
        if source.redact:
            request["parameters"] = self._parameters
        response = {
            "id": predicted.id,
            "model_name": source.model,
            "model_version": source.version,
            "outputs": _tensors(outcome.results, source.hidden),
        }
        return (
            self._event(REQUEST_TYPE, predicted.id, predicted.received, request),
            self._event(RESPONSE_TYPE, predicted.id, predicted.answered, response),
        )

    def _event(
        self, kind: str, event_id: str, moment: float, data: dict[str, Any]
    ) -> dict[str, Any]:
        source = self._source
        return {
            "specversion": "1.0",
            "id": event_id,
            "type": kind,
            "source": _SOURCE,
            "time": datetime.fromtimestamp(moment, UTC).isoformat(),
            "datacontenttype": "application/json",
            "inferenceservicename": source.model,
            "namespace": source.namespace,
            "component": "predictor",
            "endpoint": "",
            "annotations": self._annotations,
            "data": data,
        }


def write_batch(events: Sequence[dict[str, Any]]) -> bytes:
    """Return the body of one HTTP request in batch mode."""
    return orjson.dumps(events, option=orjson.OPT_SERIALIZE_NUMPY)


def write_one(event: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of one HTTP request in binary mode.

    Raises:
        UnicodeEncodeError: An attribute is no text that UTF-8 can say.
    """
    headers = {
        f"ce-{name}": encode_attribute(value)
        for name, value in event.items()
        if name not in ("data", "datacontenttype") and value
    }
    headers["content-type"] = "application/json"
    return headers, orjson.dumps(event["data"], option=orjson.OPT_SERIALIZE_NUMPY)


def _tensors(
    columns: Mapping[str, np.ndarray[Any, Any]], redact: frozenset[str]
) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "datatype": _DATATYPE_OF_KIND.get(values.dtype.kind, "BYTES"),
            "shape": list(values.shape),
            "data": _plain(values),
        }
        for name, values in columns.items()
        if name not in redact
    ]


def _plain(values: np.ndarray[Any, Any]) -> Any:
    if values.dtype.kind in "OUSM":
        return values.astype(str).tolist() if values.dtype.kind == "M" else values.tolist()
    return np.ascontiguousarray(values)
