"""OIP v2 over gRPC: ``inference.GRPCInferenceService`` on grpc.aio.

``raw_input_contents`` becomes numpy arrays without a copy; ``contents`` is read
too. Outputs are raw when the inputs were, as the SDK's own server does. Health
(``grpc.health.v1``) and reflection answer on the same port; ``serving.oip.door``
is the border of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Final

import grpc
import numpy as np
from grpc_reflection.v1alpha import reflection, reflection_pb2

from noria.errors import NoriaError, shorten
from noria.exchange.binary import decode_strings, from_raw, keep_bytes
from noria.exchange.datatypes import DATATYPES, Datatype
from serving.columns import Batch
from serving.oip.door import Door, GrpcLimits, options
from serving.oip.health import SERVICE as HEALTH
from serving.oip.health import Health
from serving.oip.messages import load_messages
from serving.oip.rest import MAX_INPUTS, InferRequest, request_id, select_outputs
from serving.oip.tensors import Tensor, datatype_of, shape_of, to_raw
from serving.refusal import Refusal, bad
from serving.routes import EXTENSIONS, model_metadata
from serving.runner import Outcome
from serving.service import InferenceService, request_id_of

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


class GrpcServer:
    """The gRPC door of one server process."""

    def __init__(self, server: grpc.aio.Server, health: Health, port: int) -> None:
        self._server = server
        self._health = health
        self.port = port

    @classmethod
    async def start(
        cls, service: InferenceService, host: str, port: int, limits: GrpcLimits
    ) -> GrpcServer:
        """Listen; port 0 takes a free one.

        Raises:
            NotInstalled: The kserve SDK is not installed.
            OSError: The port is taken.
        """
        server = grpc.aio.server(options=options(limits.max_message))
        door = Door(service, limits)
        health = Health(service, (_SERVICE,))
        server.add_generic_rpc_handlers(
            (_Handlers(service).generic(door), health.generic(door), _reflection(door))
        )
        where = f"[{host}]" if ":" in host else host
        try:
            bound = server.add_insecure_port(f"{where}:{port}")
        except RuntimeError as error:
            raise OSError(f"gRPC port {port}: {error}") from error
        await server.start()
        return cls(server, health, bound)

    async def stop(self, timeout: float) -> None:
        """Refuse new calls and finish those in flight, for at most ``timeout`` seconds."""
        self._health.close()
        await self._server.stop(timeout)


def _reflection(door: Door) -> grpc.GenericRpcHandler:
    name = reflection.SERVICE_NAME
    servicer = reflection.aio.ReflectionServicer((_SERVICE, HEALTH, name))
    talk = door.conversation(reflection_pb2.ServerReflectionRequest, servicer.ServerReflectionInfo)
    return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": talk})


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

    def generic(self, door: Door) -> grpc.GenericRpcHandler:
        methods = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
        }
        handlers = {
            name: door.unary(
                getattr(self._messages, f"{name}Request"), method, counted=name == "ModelInfer"
            )
            for name, method in methods.items()
        }
        return grpc.method_handlers_generic_handler(_SERVICE, handlers)

    async def server_live(self, _request: Any, _context: Any) -> Any:
        return self._messages.ServerLiveResponse(live=self._service.alive)

    async def server_ready(self, _request: Any, _context: Any) -> Any:
        return self._messages.ServerReadyResponse(ready=self._service.ready)

    async def model_ready(self, request: Any, _context: Any) -> Any:
        self._check_model(request.name, request.version)
        return self._messages.ModelReadyResponse(ready=self._service.ready)

    async def server_metadata(self, _request: Any, _context: Any) -> Any:
        return self._messages.ServerMetadataResponse(name="noria", extensions=EXTENSIONS)

    async def model_metadata(self, request: Any, _context: Any) -> Any:
        self._check_model(request.name, request.version)
        said = model_metadata(self._service)
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
        self._check_model(request.model_name, request.model_version)
        loaded = service.loaded
        datatypes = loaded.encoder.datatypes
        raw = bool(request.raw_input_contents)
        call, batch = self._read(request, raw=raw)
        wanted = select_outputs(datatypes, call.outputs, binary=raw)
        request_id = request_id_of(_headers(context), call.id)
        pending = loaded.runner.run(batch)
        if not isinstance(pending, Outcome):
            service.metrics.inflight += 1
            try:
                pending = await pending
            finally:
                service.metrics.inflight -= 1
        response = self._encode(call.id or request_id, pending, wanted, datatypes)
        service.record(request_id, pending)
        return response

    def _read(self, request: Any, *, raw: bool) -> tuple[InferRequest, Batch]:
        """Read what the client sent; whatever goes wrong with it is the client's fault."""
        try:
            call = _decode(request, self._service.loaded.binder.raw, raw=raw)
            return call, self._service.loaded.binder.bind(call.tensors)
        except NoriaError:
            raise
        except Exception as error:
            raise Refusal(400, "request: its tensors can't be read") from error

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


def _headers(context: Any) -> dict[bytes, bytes]:
    found = {}
    for key, value in context.invocation_metadata() or ():
        if key in ("ce-id", "x-request-id") and isinstance(value, str):
            found[key.encode()] = value.encode()
    return found


def _decode(request: Any, files: frozenset[str], *, raw: bool) -> InferRequest:
    if not request.inputs:
        raise bad("inputs", "empty; send one tensor at least")
    raws = request.raw_input_contents
    if len(request.inputs) > MAX_INPUTS:
        raise bad(
            "inputs", f"{len(request.inputs)} tensors; at most {MAX_INPUTS} are read: send fewer"
        )
    if raw and len(raws) != len(request.inputs):
        raise bad(
            "raw_input_contents", f"{len(raws)} entries for {len(request.inputs)} inputs; send all"
        )
    tensors = []
    for place, given in enumerate(request.inputs):
        field = f"inputs[{place}]"
        if not given.name:
            raise bad(f"{field}.name", "empty; send the name of an input")
        datatype = datatype_of(given.datatype, field)
        read = keep_bytes if given.name in files else decode_strings
        shape = shape_of(list(given.shape[:_MORE_THAN_ANY_SHAPE]), field)
        if raw:
            if given.HasField("contents"):
                raise bad(
                    f"{field}.contents",
                    "given together with raw_input_contents; send all inputs in one of them",
                )
            where = f"raw_input_contents[{place}]"
            values = from_raw(where, datatype, shape, raws[place], read)
        else:
            values = _contents(f"{field}.contents", datatype, shape, given.contents, read)
        tensors.append(Tensor(field, given.name, datatype, shape, values))
    outputs = {output.name: raw for output in request.outputs} or None
    return InferRequest(
        id=request_id(request.id), tensors=tuple(tensors), outputs=outputs, binary=raw
    )


def _contents(
    field: str,
    datatype: Datatype,
    shape: tuple[int, ...],
    contents: Any,
    read: Callable[[str, Sequence[bytes]], np.ndarray[Any, Any]],
) -> np.ndarray[Any, Any]:
    attribute = _CONTENTS.get(datatype.name)
    if attribute is None:
        raise bad(field, f"{datatype.name} goes in raw_input_contents only")
    values = getattr(contents, attribute)
    count = prod(shape)
    if len(values) != count:
        raise bad(
            f"{field}.{attribute}",
            f"{len(values)} values; {datatype.name} of shape {list(shape)} needs {count}",
        )
    if datatype.group == "bytes":
        return read(f"{field}.{attribute}", values)
    wide = np.array(values, dtype=_WIDE.get(attribute, datatype.dtype))
    if wide.dtype == datatype.dtype:
        return wide
    limits = np.iinfo(datatype.dtype)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        place = int(np.argmax((wide < limits.min) | (wide > limits.max)))
        raise bad(
            f"{field}.{attribute}[{place}]",
            f"{wide[place]} is out of the range of {datatype.name}, {limits.min} to {limits.max}",
        )
    return wide.astype(datatype.dtype)


_MORE_THAN_ANY_SHAPE: Final = 100
"""Sizes of a shape that are looked at: one with too many is refused all the same."""

_WIDE: Final[Mapping[str, np.dtype[Any]]] = {
    "int_contents": DATATYPES["INT32"].dtype,
    "uint_contents": DATATYPES["UINT32"].dtype,
}
