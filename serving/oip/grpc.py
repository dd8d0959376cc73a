"""OIP v2 over gRPC: ``inference.GRPCInferenceService`` on grpc.aio.

``raw_input_contents`` becomes numpy arrays without a copy; ``contents`` is read
too. Outputs are raw when the inputs were, as the SDK's own server does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final

import grpc
import numpy as np

from noria.errors import shorten
from serving.oip.datatypes import DATATYPES, Datatype
from serving.oip.messages import load_messages
from serving.oip.rest import InferRequest, request_id, select_outputs
from serving.oip.tensors import (
    Tensor,
    datatype_of,
    decode_strings,
    from_raw,
    shape_of,
    to_raw,
)
from serving.refusal import Refusal, bad
from serving.routes import EXTENSIONS, model_metadata
from serving.runner import Outcome
from serving.service import InferenceService, State, row_id_of

_SERVICE: Final = "inference.GRPCInferenceService"
_CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_CODES: Final[Mapping[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}


class GrpcServer:
    """The gRPC door of one server process."""

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server = server
        self.port = port

    @classmethod
    async def start(
        cls, service: InferenceService, host: str, port: int, max_bytes: int
    ) -> GrpcServer:
        """Listen; port 0 takes a free one.

        Raises:
            NotInstalled: The kserve SDK is not installed.
            OSError: The port is taken.
        """
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ]
        )
        server.add_generic_rpc_handlers((_Handlers(service).generic(),))
        try:
            bound = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"gRPC port {port}: {error}") from error
        await server.start()
        return cls(server, bound)

    async def stop(self, timeout: float) -> None:
        """Refuse new calls and finish those in flight, for at most ``timeout`` seconds."""
        await self._server.stop(timeout)


class _Handlers:
    def __init__(self, service: InferenceService) -> None:
        self._service = service
        self._messages = load_messages()
        version = self._messages.InferParameter(string_param=service.version)
        self._template = self._messages.ModelInferResponse(
            model_name=service.name,
            model_version=service.version,
            parameters={"model_version": version},
        )

    def generic(self) -> grpc.GenericRpcHandler:
        messages = self._messages
        methods: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
        }
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    method,
                    request_deserializer=getattr(messages, f"{name}Request").FromString,
                    response_serializer=getattr(messages, f"{name}Response").SerializeToString,
                )
                for name, method in methods.items()
            },
        )

    async def server_live(self, _request: Any, _context: Any) -> Any:
        return self._messages.ServerLiveResponse(live=True)

    async def server_ready(self, _request: Any, _context: Any) -> Any:
        ready = self._service.state is State.READY
        return self._messages.ServerReadyResponse(ready=ready)

    async def model_ready(self, request: Any, context: Any) -> Any:
        try:
            self._check_model(request.name, request.version)
        except Refusal as refusal:
            await _abort(context, refusal)
        ready = self._service.state is State.READY
        return self._messages.ModelReadyResponse(ready=ready)

    async def server_metadata(self, _request: Any, _context: Any) -> Any:
        return self._messages.ServerMetadataResponse(name="noria", extensions=EXTENSIONS)

    async def model_metadata(self, request: Any, context: Any) -> Any:
        try:
            self._check_model(request.name, request.version)
            said = model_metadata(self._service)
        except Refusal as refusal:
            await _abort(context, refusal)
            raise
        tensor = self._messages.ModelMetadataResponse.TensorMetadata
        parts = {
            side: [
                tensor(name=item["name"], datatype=item["datatype"], shape=item["shape"])
                for item in said[side]
            ]
            for side in ("inputs", "outputs")
        }
        return self._messages.ModelMetadataResponse(
            name=said["name"], versions=said["versions"], platform=said["platform"], **parts
        )

    async def model_infer(self, request: Any, context: Any) -> Any:
        service = self._service
        began = perf_counter()
        try:
            self._check_model(request.model_name, request.model_version)
            encoder = service.loaded.encoder
            raw = bool(request.raw_input_contents)
            call = _decode(request, raw=raw)
            wanted = select_outputs(encoder.datatypes, call.outputs, binary=raw)
            pending = service.start(call)
            if not isinstance(pending, Outcome):
                service.metrics.inflight += 1
                try:
                    pending = await pending
                finally:
                    service.metrics.inflight -= 1
            row_id = row_id_of(_headers(context), call.id)
            response = self._encode(call.id or row_id, pending, wanted, encoder.datatypes)
        except Exception as error:
            refusal = service.faults.refusal(error)
            service.metrics.answered("grpc", refusal.status, perf_counter() - began)
            await _abort(context, refusal)
            raise
        service.record(row_id, pending)
        service.metrics.answered("grpc", 200, perf_counter() - began)
        return response

    def _check_model(self, name: str, version: str) -> None:
        service = self._service
        if name != service.name:
            raise Refusal(404, f"model_name: {shorten(name)} is not served here")
        if version and version != service.version:
            raise Refusal(
                404,
                f"model_version: {shorten(version)} of {service.name} is not served here; "
                f"this is version {service.version}",
            )

    def _encode(
        self,
        response_id: str,
        outcome: Outcome,
        wanted: Sequence[tuple[str, bool]],
        datatypes: Mapping[str, Datatype],
    ) -> Any:
        response = self._messages.ModelInferResponse()
        response.CopyFrom(self._template)
        response.id = response_id
        # Raw contents are by place, so it is all of the outputs or none.
        raw = any(binary for _, binary in wanted)
        for name, _ in wanted:
            values = outcome.results[name]
            datatype = datatypes[name]
            output = response.outputs.add(name=name, datatype=datatype.name, shape=values.shape)
            if raw or datatype.name not in _CONTENTS:
                response.raw_output_contents.append(to_raw(values, datatype))
                continue
            target = getattr(output.contents, _CONTENTS[datatype.name])
            flat = values.ravel().tolist()
            if datatype.group == "bytes":
                flat = [str(value).encode() for value in flat]
            target.extend(flat)
        return response


async def _abort(context: Any, refusal: Refusal) -> None:
    code = _CODES.get(refusal.status, grpc.StatusCode.INVALID_ARGUMENT)
    await context.abort(code, str(refusal))


def _headers(context: Any) -> dict[bytes, bytes]:
    found = {}
    for key, value in context.invocation_metadata() or ():
        if key in ("ce-id", "x-request-id") and isinstance(value, str):
            found[key.encode()] = value.encode()
    return found


def _decode(request: Any, *, raw: bool) -> InferRequest:
    if not request.inputs:
        raise bad("inputs", "empty; send one tensor at least")
    raws = request.raw_input_contents
    if raw and len(raws) != len(request.inputs):
        raise bad(
            "raw_input_contents", f"{len(raws)} entries for {len(request.inputs)} inputs; send all"
        )
    tensors = []
    for place, given in enumerate(request.inputs):
        field = f"inputs[{place}]"
        if not given.name:
            raise bad(f"{field}.name", "empty")
        datatype = datatype_of(given.datatype, field)
        shape = shape_of(list(given.shape), field)
        if raw:
            if given.HasField("contents"):
                raise bad(f"{field}.contents", "given together with raw_input_contents")
            values = from_raw(f"raw_input_contents[{place}]", datatype, shape, raws[place])
        else:
            values = _contents(f"{field}.contents", datatype, shape, given.contents)
        tensors.append(Tensor(field, given.name, datatype, shape, values))
    outputs = {output.name: raw for output in request.outputs} or None
    return InferRequest(
        id=request_id(request.id), tensors=tuple(tensors), outputs=outputs, binary=raw
    )


def _contents(
    field: str, datatype: Datatype, shape: tuple[int, ...], contents: Any
) -> np.ndarray[Any, Any]:
    attribute = _CONTENTS.get(datatype.name)
    if attribute is None:
        raise bad(field, f"{datatype.name} goes in raw_input_contents only")
    values = getattr(contents, attribute)
    count = int(np.prod(shape))
    if len(values) != count:
        raise bad(
            f"{field}.{attribute}",
            f"{len(values)} values; {datatype.name} of shape {list(shape)} needs {count}",
        )
    if datatype.group == "bytes":
        return decode_strings(f"{field}.{attribute}", values)
    wide = np.array(values, dtype=_WIDE.get(attribute, datatype.dtype))
    if wide.dtype == datatype.dtype:
        return wide
    limits = np.iinfo(datatype.dtype)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        raise bad(f"{field}.{attribute}", f"a value is out of the range of {datatype.name}")
    return wide.astype(datatype.dtype)


_WIDE: Final[Mapping[str, np.dtype[Any]]] = {
    "int_contents": DATATYPES["INT32"].dtype,
    "uint_contents": DATATYPES["UINT32"].dtype,
}
