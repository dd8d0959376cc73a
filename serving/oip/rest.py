"""OIP v2 over REST: a request body to tensors, outputs to a response body.

The binary tensor extension is spoken in both directions: a JSON header of
``Inference-Header-Content-Length`` bytes, then the tensors that say
``binary_data_size``, one after another, little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from noria.cloudevents import MAX_ID_CHARS
from noria.errors import InvalidInput, shorten
from noria.exchange.binary import LENGTH_HEADER, SIZE, BinaryData, from_raw, keep_bytes, split
from noria.exchange.datatypes import DATATYPES, Datatype
from noria.predictions import MAX_TEXT_CHARS
from noria.tasks.package import Output
from serving.oip.tensors import (
    Tensor,
    check_texts,
    datatype_of,
    from_json,
    may_hold_booleans,
    shape_of,
    to_raw,
)
from serving.refusal import Refusal, bad, listed

MAX_INPUTS: Final = 10_000
"""Tensors in one request."""
_MAX_VALUES: Final = 1 << 20
_SIZE: Final = SIZE.encode()


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A decoded request. ``outputs`` maps what was asked for to "as binary"; None: everything."""

    id: str | None
    tensors: tuple[Tensor, ...]
    outputs: Mapping[str, bool] | None
    binary: bool


def decode(
    body: bytes, header_length: bytes | None, files: frozenset[str] = frozenset()
) -> InferRequest:
    """Decode the body of ``POST /v2/models/{m}/infer``.

    Args:
        body: The whole body.
        header_length: The value of ``Inference-Header-Content-Length``, if it was sent.
        files: Inputs whose BYTES are files and no texts.

    Raises:
        Refusal: The body is not an inference request; the message names the field.
    """
    try:
        return _decode(body, header_length, files)
    except Refusal:
        raise
    except InvalidInput as error:
        raise Refusal(400, error.message, fix=error.fix) from error


def _decode(body: bytes, header_length: bytes | None, files: frozenset[str]) -> InferRequest:
    head, data = body, _NO_DATA
    if header_length is not None:
        head, data = split(body, header_length.decode("latin-1"))
    try:
        document = parse_object(head)
    except Refusal as refusal:
        if header_length is not None or _SIZE not in body:
            raise
        fix = f"binary tensors need the header {LENGTH_HEADER}, the number of bytes of the JSON"
        raise Refusal(refusal.status, refusal.message, fix=fix) from refusal
    inputs = document.get("inputs")
    if type(inputs) is not list or not inputs:
        raise bad(
            "inputs",
            f"{shorten(inputs)} is not a list of one tensor or more; send objects with name, "
            "shape, datatype and data",
        )
    if len(inputs) > MAX_INPUTS:
        raise bad("inputs", f"{len(inputs)} tensors; at most {MAX_INPUTS} are read: send fewer")
    booleans = may_hold_booleans(head)
    tensors = []
    for place, given in enumerate(inputs):
        tensors.append(_tensor(f"inputs[{place}]", given, data, files, booleans=booleans))
    data.check_end()
    if len(body) > MAX_TEXT_CHARS:
        check_texts([tensor for tensor in tensors if tensor.name not in files])
    parameters = _parameters(document, "parameters")
    binary = _flag(parameters, "binary_data_output", "parameters")
    return InferRequest(
        id=request_id(document.get("id")),
        tensors=tuple(tensors),
        outputs=_requested(document.get("outputs"), binary=binary),
        binary=binary,
    )


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse JSON that must be an object.

    Raises:
        Refusal: It is not JSON, is nested too deeply, holds too many values to be read
            while others wait, or is not an object.
    """
    if len(body) > _MAX_VALUES and _signs(body) > _MAX_VALUES:
        raise Refusal(
            413,
            f"body: more than {_MAX_VALUES} values in JSON",
            fix="send binary tensors, or fewer rows per request",
        )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad("body", f"not JSON: {error}") from error
    if type(document) is not dict:
        raise bad("body", f"{shorten(document)} is not a JSON object; send one with inputs")
    return document


def _signs(body: bytes) -> int:
    """Count the signs that values come after, at a fraction of what parsing them costs."""
    signs = np.frombuffer(body, dtype=np.uint8)
    return sum(int(np.count_nonzero(signs == sign)) for sign in b",[{")


def request_id(value: object) -> str | None:
    """Check a request's ``id``.

    Raises:
        Refusal: It is not a string, or too long to be echoed.
    """
    if value is None or value == "":
        return None
    if type(value) is not str:
        raise bad("id", f"{shorten(value)} is not a string")
    if len(value) > MAX_ID_CHARS:
        raise bad("id", f"{len(value)} characters; at most {MAX_ID_CHARS} are kept: send less")
    return value


_NO_DATA: Final = BinaryData(memoryview(b""))


def _tensor(
    field: str, given: object, data: BinaryData, files: frozenset[str], *, booleans: bool
) -> Tensor:
    if type(given) is not dict:
        raise bad(
            field,
            f"{shorten(given)} is not an object; send one with name, shape, datatype and data",
        )
    name = given.get("name")
    if type(name) is not str or not name:
        raise bad(f"{field}.name", f"{shorten(name)} is not a name; send that of an input")
    datatype = datatype_of(given.get("datatype"), field)
    shape = shape_of(given.get("shape"), field)
    parameters = _parameters(given, f"{field}.parameters")
    size = parameters.get(SIZE)
    if size is None:
        if "data" not in given:
            raise bad(f"{field}.data", f"missing, and there is no {SIZE}; send one of them")
        values = from_json(field, datatype, shape, given["data"], look_for_booleans=booleans)
        return Tensor(field, name, datatype, shape, values)
    where = f"{field}.parameters.{SIZE}"
    if "data" in given:
        raise bad(where, "given together with data; send one of them")
    read = keep_bytes if name in files else None
    values = from_raw(where, datatype, shape, data.take(where, size), read)
    return Tensor(field, name, datatype, shape, values)


def _parameters(given: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    parameters = given.get("parameters")
    if parameters is None:
        return _NO_PARAMETERS
    if type(parameters) is not dict:
        raise bad(field, f"{shorten(parameters)} is not an object")
    return parameters


_NO_PARAMETERS: Final[Mapping[str, Any]] = {}


def _flag(parameters: Mapping[str, Any], name: str, field: str, *, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise bad(f"{field}.{name}", f"{shorten(value)} is not true or false")
    return value


def _requested(given: object, *, binary: bool) -> Mapping[str, bool] | None:
    if given is None or given == []:
        return None
    if type(given) is not list:
        raise bad("outputs", f"{shorten(given)} is not a list")
    if len(given) > MAX_INPUTS:
        raise bad("outputs", f"{len(given)} outputs; at most {MAX_INPUTS} are read: ask for fewer")
    wanted: dict[str, bool] = {}
    for place, output in enumerate(given):
        field = f"outputs[{place}]"
        name = output.get("name") if type(output) is dict else None
        if type(name) is not str:
            raise bad(f"{field}.name", f"{shorten(name)} is not a name; send that of an output")
        if name in wanted:
            raise bad(f"{field}.name", f"{shorten(name)} was asked for before; ask for it once")
        parameters = _parameters(output, f"{field}.parameters")
        wanted[name] = _flag(parameters, "binary_data", f"{field}.parameters", default=binary)
    return wanted


@dataclass(frozen=True, slots=True)
class Encoded:
    """A response body; ``header_length`` is set when binary tensors follow the JSON."""

    body: bytes
    header_length: int | None


class ResponseEncoder:
    """Writes responses of one model version around parts that were made once."""

    def __init__(self, model: str, version: str, outputs: Sequence[Output]) -> None:
        said = orjson.dumps(
            {
                "model_name": model,
                "model_version": version,
                "parameters": {"model_version": version},
            }
        )
        self._head = said[:-1] + b',"id":'
        self._datatypes: dict[str, Datatype] = {
            output.name: DATATYPES[output.datatype] for output in outputs
        }
        self._starts = {
            name: b'{"name":%b,"datatype":"%b","shape":'
            % (orjson.dumps(name), datatype.name.encode())
            for name, datatype in self._datatypes.items()
        }

    @property
    def datatypes(self) -> Mapping[str, Datatype]:
        """The outputs and their datatypes, in the manifest's order."""
        return self._datatypes

    def select(self, request: InferRequest) -> Sequence[tuple[str, bool]]:
        """Return the outputs to send, each with whether it goes as binary.

        Raises:
            Refusal: An output that was asked for does not exist.
        """
        return select_outputs(self._datatypes, request.outputs, binary=request.binary)

    def encode(
        self,
        request_id: str,
        results: Mapping[str, np.ndarray[Any, Any]],
        wanted: Sequence[tuple[str, bool]],
    ) -> Encoded:
        """Write the response of one request."""
        parts = [self._head, orjson.dumps(request_id), b',"outputs":[']
        raw: list[bytes] = []
        for place, (name, binary) in enumerate(wanted):
            values = results[name]
            if place:
                parts.append(b",")
            parts.append(self._starts[name])
            parts.append(orjson.dumps(values.shape))
            if binary:
                tail = to_raw(values, self._datatypes[name])
                raw.append(tail)
                parts.append(b',"parameters":{"binary_data_size":%d}}' % len(tail))
            else:
                parts.append(b',"data":')
                parts.append(_numbers_to_json(values))
                parts.append(b"}")
        parts.append(b"]}")
        head = b"".join(parts)
        if not raw:
            return Encoded(head, None)
        return Encoded(b"".join((head, *raw)), len(head))


def select_outputs(
    known: Mapping[str, Datatype], requested: Mapping[str, bool] | None, *, binary: bool
) -> Sequence[tuple[str, bool]]:
    """Return the outputs to send, each with whether it goes as binary.

    Raises:
        Refusal: An output that was asked for does not exist.
    """
    if requested is None:
        return [(name, binary) for name in known]
    for place, name in enumerate(requested):
        if name not in known:
            raise unknown_output(place, name, known)
    return list(requested.items())


def unknown_output(place: int, name: str, known: Mapping[str, Datatype]) -> Refusal:
    """Return the refusal of an output that does not exist."""
    return bad(
        f"outputs[{place}].name",
        f"{shorten(name)} is not an output of this model; its outputs are {listed(known)}",
    )


def _numbers_to_json(values: np.ndarray[Any, Any]) -> bytes:
    if values.ndim > 1:
        values = values.ravel()
    if values.dtype.kind in "OUS":
        return orjson.dumps(values.tolist())
    return orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
