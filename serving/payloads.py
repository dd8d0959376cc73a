"""Payload events in the format of KServe's logger, sent beside the requests, never in their way.

A request puts one small object in a bounded queue. A thread turns it into two
CloudEvents 1.0, the request as the predictor saw it (looked-up features included)
and the response, with one id, and posts batches over one keep-alive connection.
When the sink is slow or away the oldest events are dropped, and counted.
Format: kserve ``pkg/logger/worker.go``; CloudEvents JSON batch format 1.0.
"""

from __future__ import annotations

import http.client
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any, Final
from urllib.parse import urlsplit
from zlib import crc32

import numpy as np
import orjson

from noria.errors import InvalidInput
from serving.runner import Outcome

_log: Final = logging.getLogger("serving.payloads")

REQUEST_TYPE: Final = "org.kubeflow.serving.inference.request"
RESPONSE_TYPE: Final = "org.kubeflow.serving.inference.response"
VERSION_ANNOTATION: Final = "noria.dev/model-version"

_SOURCE: Final = "http://localhost:9081/"
_BATCH_TYPE: Final = "application/cloudevents-batch+json"
_DATATYPE_OF_KIND: Final = {"f": "FP64", "i": "INT64", "u": "UINT64", "b": "BOOL"}
_UNSUPPORTED_MEDIA_TYPE: Final = 415
_RETRIED: Final = frozenset({408, 425, 429})
_FIRST_BACKOFF: Final = 0.1
_LAST_BACKOFF: Final = 5.0


@dataclass(frozen=True, slots=True)
class PayloadSettings:
    """Where events go and which. ``linger`` is in seconds, ``max_cells`` in values queued."""

    sink: str
    model: str
    version: str
    namespace: str = ""
    sample: float = 1.0
    redact: frozenset[str] = frozenset()
    max_events: int = 20_000
    max_cells: int = 4_000_000
    batch: int = 100
    linger: float = 0.02
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class _Entry:
    id: str
    outcome: Outcome
    received: float
    answered: float

    @property
    def cells(self) -> int:
        return self.outcome.rows * (len(self.outcome.columns) + len(self.outcome.results))


class PayloadLog:
    """A bounded queue of predictions and the thread that posts them.

    Raises:
        InvalidInput: The sink is not an HTTP URL.
    """

    def __init__(self, settings: PayloadSettings) -> None:
        self._settings = settings
        self._annotations = orjson.dumps({VERSION_ANNOTATION: settings.version}).decode()
        self._threshold = int(settings.sample * (1 << 32))
        self._queue: deque[_Entry] = deque()
        self._cells = 0
        self._changed = threading.Condition()
        self._closing = False
        self._deadline = float("inf")
        self._dropped = 0
        self._sent = 0
        self._poster = _Poster(settings)
        self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
        self._thread.start()

    def dropped(self) -> int:
        """Return how many events were lost."""
        return self._dropped

    def sent(self) -> int:
        """Return how many events the sink acknowledged."""
        return self._sent

    def offer(self, request_id: str, outcome: Outcome, received: float) -> None:
        """Queue one prediction. Never blocks on the sink.

        Args:
            request_id: The id; its hash decides whether the request is sampled.
            outcome: What was seen and said.
            received: When the request came, seconds since 1970 UTC.
        """
        if crc32(request_id.encode()) >= self._threshold:
            return
        entry = _Entry(request_id, outcome, received, time())
        settings = self._settings
        with self._changed:
            self._queue.append(entry)
            self._cells += entry.cells
            while self._queue and (
                2 * len(self._queue) > settings.max_events or self._cells > settings.max_cells
            ):
                self._cells -= self._queue.popleft().cells
                self._dropped += 2
            if len(self._queue) == 1:
                self._changed.notify()

    def close(self, timeout: float) -> None:
        """Send what is queued, for at most ``timeout`` seconds, then stop."""
        with self._changed:
            self._closing = True
            self._deadline = monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + 1.0)

    def _run(self) -> None:
        while True:
            taken = self._take()
            if not taken:
                break
            self._deliver(taken)
        self._poster.close()

    def _take(self) -> list[_Entry]:
        """Wait for entries; empty when the log is closed and nothing is left."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            if len(self._queue) < self._settings.batch and not self._closing:
                self._changed.wait_for(lambda: self._closing, self._settings.linger)
            count = min(len(self._queue), self._settings.batch)
            taken = [self._queue.popleft() for _ in range(count)]
            self._cells -= sum(entry.cells for entry in taken)
        return taken

    def _deliver(self, taken: Sequence[_Entry]) -> None:
        events = [event for entry in taken for event in self._events(entry)]
        backoff = _FIRST_BACKOFF
        while True:
            try:
                taken_in = self._poster.post(events)
            except (OSError, http.client.HTTPException) as error:
                _log.warning("the sink %s does not answer: %s", self._settings.sink, error)
            else:
                self._sent += taken_in
                self._dropped += len(events) - taken_in
                return
            with self._changed:
                remaining = self._deadline - monotonic()
                if remaining <= 0:
                    self._dropped += len(events) + 2 * len(self._queue)
                    self._queue.clear()
                    self._cells = 0
                    return
                self._changed.wait(min(backoff, remaining))
            backoff = min(2 * backoff, _LAST_BACKOFF)

    def _events(self, entry: _Entry) -> tuple[dict[str, Any], dict[str, Any]]:
        settings = self._settings
        outcome = entry.outcome
        request: dict[str, Any] = {
            "id": entry.id,
            "inputs": _tensors(outcome.columns, settings.redact),
        }
        if settings.redact:
            request["parameters"] = {"redacted": ",".join(sorted(settings.redact))}
        response = {
            "id": entry.id,
            "model_name": settings.model,
            "model_version": settings.version,
            "outputs": _tensors(outcome.results, settings.redact),
        }
        return (
            self._event(REQUEST_TYPE, entry.id, entry.received, request),
            self._event(RESPONSE_TYPE, entry.id, entry.answered, response),
        )

    def _event(
        self, kind: str, event_id: str, moment: float, data: dict[str, Any]
    ) -> dict[str, Any]:
        settings = self._settings
        return {
            "specversion": "1.0",
            "id": event_id,
            "type": kind,
            "source": _SOURCE,
            "time": datetime.fromtimestamp(moment, UTC).isoformat(),
            "datacontenttype": "application/json",
            "inferenceservicename": settings.model,
            "namespace": settings.namespace,
            "component": "predictor",
            "endpoint": "",
            "annotations": self._annotations,
            "data": data,
        }


class _Poster:
    """Posts events over one connection: as batches, or one by one to a sink that has no batches."""

    def __init__(self, settings: PayloadSettings) -> None:
        parts = urlsplit(settings.sink)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(f"--sink: {settings.sink!r} is not an http:// or https:// URL")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = settings.timeout
        self._batches = True
        self._connection: http.client.HTTPConnection | None = None

    def post(self, events: Sequence[dict[str, Any]]) -> int:
        """Post events; returns how many the sink took, the others it refused for good.

        Raises:
            OSError, http.client.HTTPException: The sink did not take them; it may later.
        """
        if self._batches:
            status = self._post_batch(events)
            if self._accepted(status):
                return len(events)
            if status != _UNSUPPORTED_MEDIA_TYPE:
                # One event that is refused must not take its neighbours with it.
                one_by_one = [self._accepted(self._post_batch((event,))) for event in events]
                return sum(one_by_one) if len(events) > 1 else 0
            self._batches = False
        return sum([self._post_one(event) for event in events])

    def _post_batch(self, events: Sequence[dict[str, Any]]) -> int:
        body = orjson.dumps(events, option=orjson.OPT_SERIALIZE_NUMPY)
        return self._send(body, {"content-type": _BATCH_TYPE})

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post_one(self, event: Mapping[str, Any]) -> bool:
        headers = {
            f"ce-{name}": str(value)
            for name, value in event.items()
            if name not in ("data", "datacontenttype")
        }
        headers["content-type"] = "application/json"
        body = orjson.dumps(event["data"], option=orjson.OPT_SERIALIZE_NUMPY)
        return self._accepted(self._send(body, headers))

    def _send(self, body: bytes, headers: Mapping[str, str]) -> int:
        connection = self._connection
        if connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = self._connection = kind(self._host, self._port, timeout=self._timeout)
        try:
            connection.request("POST", self._path, body=body, headers=dict(headers))
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        return response.status

    def _accepted(self, status: int) -> bool:
        if 200 <= status < 300:
            return True
        if status >= 500 or status in _RETRIED:
            raise http.client.HTTPException(f"status {status}")
        _log.error("the sink refused payload events with status %d; they are dropped", status)
        return False


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
