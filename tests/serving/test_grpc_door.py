"""Whatever comes to the gRPC port: a status, a count and a bounded log; others go on."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from noria.tasks.package import Feature, Input, Manifest, Output
from serving.columns import InputBinder
from serving.metrics import ServerMetrics
from serving.oip.door import GrpcLimits
from serving.oip.grpc import GrpcServer
from serving.oip.messages import load_messages
from serving.oip.rest import ResponseEncoder
from serving.runner import Batching, Runner
from serving.service import InferenceService, Loaded

PB = load_messages()
INFER = "/inference.GRPCInferenceService/ModelInfer"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
METHODS = [
    f"/inference.GRPCInferenceService/{name}"
    for name in ("ModelReady", "ModelMetadata", "ModelInfer")
] + [CHECK, WATCH, REFLECT]
CODE = grpc.StatusCode
MANIFEST = Manifest(
    model="m",
    family="tabular-regression",
    algorithm="linear",
    inputs=(Input("x", "FP64", "numeric"), Input("t", "BYTES", "categorical", optional=True)),
    outputs=(Output("prediction", "FP64"),),
    features=(Feature("x", "numeric"),),
)


class Doubler:
    manifest = MANIFEST

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before

    def predict(self, columns: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        self.before()
        return {"prediction": columns["x"] * 2}


def loaded(service: InferenceService, predictor: Any, **given: Any) -> Loaded:
    runner = Runner(predictor, None, Batching(), service.metrics, **given)
    return Loaded(
        MANIFEST, InputBinder(MANIFEST), ResponseEncoder("m", "1", MANIFEST.outputs), runner
    )


@asynccontextmanager
async def served(
    predictor: Any = None, *, host: str = "127.0.0.1", **limits: Any
) -> AsyncIterator[tuple[str, InferenceService]]:
    """A gRPC server in this process; its model is loaded when there is a predictor."""
    service = InferenceService("m", "1", ServerMetrics("m", "1"), None)
    if predictor is not None:
        service.become_ready(loaded(service, predictor))
    given = GrpcLimits(**{"max_message": 1 << 20, **limits})
    server = await GrpcServer.start(service, host, 0, given)
    try:
        yield f"{f'[{host}]' if ':' in host else host}:{server.port}", service
    finally:
        await server.stop(0)


def request(*values: float, **more: Any) -> bytes:
    made = PB.ModelInferRequest(model_name="m", **more)
    made.inputs.add(name="x", datatype="FP64", shape=[len(values)]).contents.fp64_contents.extend(
        values
    )
    return bytes(made.SerializeToString())


async def call(channel: grpc.aio.Channel, method: str, body: bytes, **given: Any) -> Any:
    return await channel.unary_unary(method)(body, timeout=20, **given)


async def refused(channel: grpc.aio.Channel, method: str, body: bytes, **given: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, method, body, **given)
    return caught.value


# -- foreign bytes


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_message_are_the_clients_fault(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with served(Doubler()) as (where, service), grpc.aio.insecure_channel(where) as channel:
        for body in (b"\xff\xff\xff", b'{"inputs": []}', b"GET / HTTP/1.1\r\n\r\n"):
            for _ in range(50):
                error = await refused(channel, method, body)
                assert error.code() is CODE.INVALID_ARGUMENT, body
                assert f"{len(body)} bytes" in error.details()
        assert service.metrics.requests == {("grpc", 400): 150}
        # A client's nonsense is no latency of the version, and no error of it.
        assert service.metrics.latency == {}
        answer = PB.ModelInferResponse.FromString(await call(channel, INFER, request(1.5)))
        assert list(answer.outputs[0].contents.fp64_contents) == [3.0]
    assert len(caplog.records) < 5
    assert "Traceback" not in caplog.text


async def test_no_bytes_at_all_are_answered_within_the_protocol() -> None:
    async with served(Doubler()) as (where, _), grpc.aio.insecure_channel(where) as channel:
        assert (await refused(channel, INFER, b"")).code() is CODE.NOT_FOUND  # no model of no name
        nothing = channel.stream_unary(INFER)()
        await nothing.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await nothing
        assert caught.value.code() is CODE.INVALID_ARGUMENT
        assert (await refused(channel, "/inference.GRPCInferenceService/Nope", b"")).code() is (
            CODE.UNIMPLEMENTED
        )


def tensor(**given: Any) -> Any:
    return PB.ModelInferRequest.InferInputTensor(**{"name": "x", "datatype": "FP64", **given})


FIVE = (5).to_bytes(4, "little")
REQUESTS: dict[str, tuple[list[Any], list[bytes]]] = {
    "no inputs": ([], []),
    "a negative size": ([tensor(shape=[-1])], []),
    "a size of 2**62": ([tensor(shape=[1 << 62])], [b"12345678"]),
    "sizes whose product is over 64 bits": ([tensor(shape=[1 << 40, 1 << 40])], []),
    "nothing of much": ([tensor(shape=[0, 1 << 62])], []),
    "much of nothing": ([tensor(shape=[1 << 62, 0])], []),
    "a shape of a million sizes": ([tensor(shape=[1] * 100_000)], []),
    "no shape": ([tensor()], []),
    "no name": ([tensor(name="", shape=[1])], []),
    "an unknown datatype": ([tensor(shape=[1], datatype="FP128")], []),
    "no datatype": ([tensor(shape=[1], datatype="")], []),
    "too few bytes": ([tensor(shape=[2])], [b"12345678"]),
    "too many bytes": ([tensor(shape=[1])], [b"1234567890123456"]),
    "more raw tensors than tensors": ([tensor(shape=[1])], [b"12345678", b""]),
    "a length past the end": ([tensor(name="t", datatype="BYTES", shape=[1])], [FIVE + b"abc"]),
    "a length of 2**32-1": ([tensor(name="t", datatype="BYTES", shape=[1])], [b"\xff" * 4]),
    "bytes after the last": ([tensor(name="t", datatype="BYTES", shape=[1])], [FIVE + b"abcdefg"]),
    "not UTF-8": ([tensor(name="t", datatype="BYTES", shape=[1])], [FIVE + b"\xff" * 5]),
    "not finite": ([tensor(shape=[1])], [np.array([np.inf]).tobytes()]),
    "twice": ([tensor(shape=[1]), tensor(shape=[1])], [b"12345678"] * 2),
    "two lengths": ([tensor(shape=[1]), tensor(name="t", shape=[2])], [b"12345678"] * 2),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_message_that_lies_is_refused_by_name(name: str) -> None:
    inputs, raw = REQUESTS[name]
    body = PB.ModelInferRequest(model_name="m", inputs=inputs, raw_input_contents=raw)
    async with served(Doubler()) as (where, service), grpc.aio.insecure_channel(where) as channel:
        error = await refused(channel, INFER, body.SerializeToString())
        assert error.code() is CODE.INVALID_ARGUMENT
        assert "inputs" in error.details() or "raw_input" in error.details()
        assert ("grpc", 500) not in service.metrics.requests


async def test_messages_with_random_faults_are_never_our_fault() -> None:
    chance = random.Random(7)
    whole = bytearray(request(1.0, 2.0, id="r"))
    async with served(Doubler()) as (where, service), grpc.aio.insecure_channel(where) as channel:
        for _ in range(1500):
            body = bytearray(whole)
            for _ in range(chance.randrange(1, 5)):
                place = chance.randrange(len(body))
                match chance.randrange(3):
                    case 0:
                        body[place] = chance.randrange(256)
                    case 1:
                        del body[place:]
                        body += chance.randbytes(chance.randrange(1, 20))
                    case _:
                        body[place:place] = chance.randbytes(chance.randrange(1, 20))
            with suppress(grpc.aio.AioRpcError):
                await call(channel, INFER, bytes(body))
        codes = {code for _, code in service.metrics.requests}
        assert codes <= {200, 400, 404}, service.metrics.requests
        assert {400, 404} <= codes


async def test_a_refusal_is_short_enough_to_arrive_whatever_the_client_named() -> None:
    body = PB.ModelInferRequest(model_name="주" * 30_000).SerializeToString()
    async with served(Doubler()) as (where, _), grpc.aio.insecure_channel(where) as channel:
        error = await refused(channel, INFER, body)
        assert error.code() is CODE.NOT_FOUND
        assert len(error.details()) < 1300


async def test_too_many_tensors_and_too_many_fields_cost_little(
    tmp_path: Path, start_server: Any
) -> None:
    server = start_server("--grpc-port", "0")
    before = server.metric("process_resident_memory_bytes")
    many = PB.ModelInferRequest(model_name="m", inputs=[tensor(shape=[1])] * 10_001)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        error = await refused(channel, INFER, many.SerializeToString())
        assert error.code() is CODE.INVALID_ARGUMENT
        assert error.details().startswith("inputs: 10001 tensors")
        # Two bytes each, which would be objects of a hundred: inputs, outputs, of a tensor.
        inside = b"\x2a" + bytes([0x80, 0x80, 0x80, 0x04]) + b"\x22\x00" * (4 << 20)
        for body in (b"\x2a\x00" * (7 << 20), b"\x32\x00" * (7 << 20), inside):
            error = await refused(channel, INFER, body)
            assert error.code() is CODE.INVALID_ARGUMENT
            assert error.details() == "request: more than 100000 fields"
    assert server.metric("process_resident_memory_bytes") - before < 120e6


# -- bounds


async def test_a_message_over_the_limit_is_refused_compressed_or_not() -> None:
    body = PB.ModelInferRequest(model_name="m", id="0" * (2 << 20)).SerializeToString()
    async with served(Doubler()) as (where, _), grpc.aio.insecure_channel(where) as channel:
        assert (await refused(channel, INFER, body)).code() is CODE.RESOURCE_EXHAUSTED
        error = await refused(channel, INFER, body, compression=grpc.Compression.Gzip)
        assert error.code() is CODE.RESOURCE_EXHAUSTED
        answer = await call(channel, INFER, request(1.0), compression=grpc.Compression.Gzip)
        assert PB.ModelInferResponse.FromString(answer).outputs


async def test_headers_over_the_limit_are_refused() -> None:
    async with served(Doubler()) as (where, _), grpc.aio.insecure_channel(where) as channel:
        error = await refused(channel, INFER, request(1.0), metadata=[("x-much", "a" * 40_000)])
        assert error.code() is CODE.RESOURCE_EXHAUSTED
        await call(channel, INFER, request(1.0))


async def test_one_address_can_not_take_all_calls() -> None:
    async with (
        served(Doubler(), max_calls=6, max_calls_of_one=3) as (where, service),
        grpc.aio.insecure_channel(where) as channel,
    ):
        watches = [channel.unary_stream(WATCH)(b"") for _ in range(3)]
        for watch in watches:
            await watch.read()
        error = await refused(channel, INFER, request(1.0))
        assert error.code() is CODE.RESOURCE_EXHAUSTED
        assert service.metrics.requests == {("grpc", 429): 1}
        watches[0].cancel()
        async with asyncio.timeout(20):
            while True:
                with suppress(grpc.aio.AioRpcError):
                    await call(channel, INFER, request(1.0))
                    break


async def test_a_message_that_does_not_come_is_not_waited_for() -> None:
    async with (
        served(Doubler(), receive_seconds=0.2) as (where, service),
        grpc.aio.insecure_channel(where) as channel,
    ):
        silent = channel.stream_unary(INFER)()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(silent, 20)
        assert caught.value.code() is CODE.DEADLINE_EXCEEDED
        assert service.metrics.requests == {("grpc", 408): 1}
        assert service.metrics.latency == {}


async def test_slow_senders_make_place_for_those_who_wait() -> None:
    # A place holds a message of 1 MiB; 4 MiB in all.
    async with (
        served(Doubler(), receive_seconds=60, hurried_seconds=0.2, max_held=4 << 20) as (where, _),
        grpc.aio.insecure_channel(where) as channel,
    ):
        silent = [channel.stream_unary(INFER)() for _ in range(4)]
        await asyncio.sleep(0.1)
        answer = await asyncio.wait_for(call(channel, INFER, request(1.0)), 20)
        assert PB.ModelInferResponse.FromString(answer).outputs
        for one in silent:
            one.cancel()


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    """Through a proxy that stops to pass on what the server says."""
    silence: list[threading.Event] = []

    def before() -> None:
        for event in silence:
            event.set()

    async with (
        served(Doubler(before), write_seconds=0.3, max_message=16 << 20) as (where, service),
        Silenced(int(where.rpartition(":")[2])) as proxy,
        grpc.aio.insecure_channel(
            f"127.0.0.1:{proxy.port}", options=[("grpc.max_receive_message_length", -1)]
        ) as channel,
    ):
        await call(channel, INFER, request(1.0))
        silence.append(proxy.silent)  # from when the next message has come
        unread = channel.unary_unary(INFER)(request(*[1.0] * 1_000_000))
        async with asyncio.timeout(60):
            while ("grpc", 408) not in service.metrics.requests:
                await asyncio.sleep(0.05)
        unread.cancel()
        assert service.metrics.requests[("grpc", 200)] == 2  # it was answered, and not read


class Silenced:
    """A proxy whose way back can be shut; a small buffer, so that the server feels it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.silent = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []

    async def __aenter__(self) -> Silenced:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            server.connect(("127.0.0.1", self._target))
            self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server, None), daemon=True).start()
            self._pass(server, client, self.silent)

    def _pass(self, one: socket.socket, other: socket.socket, shut: threading.Event | None) -> None:
        with suppress(OSError):
            while not (shut is not None and shut.is_set()) and (data := one.recv(4096)):
                other.sendall(data)


# -- what nobody foresaw


@pytest.mark.parametrize("error", [RecursionError("deep " * 10_000), SystemExit(3), MemoryError()])
async def test_what_a_predictor_raises_fails_its_call_and_no_other(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    failing = True

    def before() -> None:
        if failing:
            raise error

    async with (
        served(Doubler(before)) as (where, service),
        grpc.aio.insecure_channel(where) as channel,
    ):
        told = await refused(channel, INFER, request(1.0))
        assert told.code() is CODE.INTERNAL
        assert "incident" in told.details()
        assert service.metrics.requests == {("grpc", 500): 1}
        (worker,) = service.workers()
        assert (worker.name, worker.failures) == ("predict", 1)
        failing = False
        await call(channel, INFER, request(1.0))
    assert len(caplog.text) < 20_000


async def test_an_answer_that_is_not_finite_is_told_by_output_and_row() -> None:
    class Odd(Doubler):
        def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
            return {"prediction": np.full(len(columns["x"]), np.nan)}

    async with (
        served(Odd(lambda: None)) as (where, service),
        grpc.aio.insecure_channel(where) as channel,
    ):
        told = await refused(channel, INFER, request(1.0))
        assert told.code() is CODE.INTERNAL
        assert told.details().startswith("outputs.prediction: the model answered nan for row 0")
        assert service.metrics.not_finite == {"prediction": 1}


async def test_a_predictor_that_answers_for_other_rows_is_our_fault() -> None:
    class Short(Doubler):
        def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
            return {"prediction": np.zeros(1)}

    async with served(Short()) as (where, _), grpc.aio.insecure_channel(where) as channel:
        assert (await refused(channel, INFER, request(1.0, 2.0))).code() is CODE.INTERNAL


# -- health


async def status(channel: grpc.aio.Channel, name: str = "") -> int:
    body = health_pb2.HealthCheckRequest(service=name).SerializeToString()
    answer = health_pb2.HealthCheckResponse.FromString(await call(channel, CHECK, body))
    return int(answer.status)


SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


class Hands:
    """A clock that the test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def assert_open(gate: threading.Event) -> None:
    assert gate.wait(60), "nobody opened the gate"


async def test_health_says_whether_a_request_would_be_answered() -> None:
    clock = Hands()
    gate = threading.Event()
    async with served() as (where, service), grpc.aio.insecure_channel(where) as channel:
        names = ("", "m", "inference.GRPCInferenceService")
        assert [await status(channel, name) for name in names] == [NOT_SERVING] * 3  # it loads
        watch = channel.unary_stream(WATCH)(
            health_pb2.HealthCheckRequest(service="m").SerializeToString()
        )

        async def seen() -> int:
            answer = await asyncio.wait_for(watch.read(), 20)
            return int(health_pb2.HealthCheckResponse.FromString(answer).status)

        assert await seen() == NOT_SERVING
        service.become_ready(loaded(service, Doubler(lambda: assert_open(gate)), elapsed=clock))
        assert await seen() == SERVING
        assert [await status(channel, name) for name in names] == [SERVING] * 3
        pending = asyncio.ensure_future(call(channel, INFER, request(1.0)))
        async with asyncio.timeout(20):
            while not service.metrics.inflight:
                await asyncio.sleep(0.01)
        clock.now = 31.0  # a prediction that does not end
        assert await seen() == NOT_SERVING
        assert service.problems == ("a prediction has been under way for 31 seconds",)
        assert (service.ready, service.alive) == (False, True)
        clock.now = 301.0
        assert (service.ready, service.alive) == (False, False)
        gate.set()
        await pending
        assert await seen() == SERVING
        service.start_draining()
        assert await seen() == NOT_SERVING
        assert await status(channel) == NOT_SERVING


async def test_health_of_what_is_not_there() -> None:
    async with served(Doubler()) as (where, _), grpc.aio.insecure_channel(where) as channel:
        body = health_pb2.HealthCheckRequest(service="nope").SerializeToString()
        assert (await refused(channel, CHECK, body)).code() is CODE.NOT_FOUND
        watch = channel.unary_stream(WATCH)(body)
        answer = health_pb2.HealthCheckResponse.FromString(await watch.read())
        assert answer.status == UNKNOWN
        watch.cancel()


async def test_a_server_that_stops_ends_its_watches(start_server: Any) -> None:
    server = start_server("--grpc-port", "0", "--drain-timeout", "30")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        watch = channel.unary_stream(WATCH)(b"")
        first = health_pb2.HealthCheckResponse.FromString(await watch.read())
        server.process.terminate()
        second = health_pb2.HealthCheckResponse.FromString(await asyncio.wait_for(watch.read(), 20))
        assert (first.status, second.status) == (SERVING, NOT_SERVING)
        assert await asyncio.wait_for(watch.read(), 10) is grpc.aio.EOF
        assert await asyncio.to_thread(server.process.wait, 10) == 0


async def test_reflection_names_the_services_and_gives_their_types() -> None:
    async with served(Doubler()) as (where, _), grpc.aio.insecure_channel(where) as channel:
        asked = reflection_pb2.ServerReflectionRequest

        async def ask(**given: Any) -> Any:
            talk = channel.stream_stream(REFLECT)()
            await talk.write(asked(**given).SerializeToString())
            answer = reflection_pb2.ServerReflectionResponse.FromString(await talk.read())
            await talk.done_writing()
            assert await talk.read() is grpc.aio.EOF
            assert await talk.code() is CODE.OK
            return answer

        listed = (await ask(list_services="")).list_services_response
        assert {service.name for service in listed.service} == {
            "inference.GRPCInferenceService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        for name in ("inference.GRPCInferenceService", "grpc.health.v1.Health"):
            found = await ask(file_containing_symbol=name)
            assert found.file_descriptor_response.file_descriptor_proto
        missing = await ask(file_containing_symbol="no.Such")
        assert missing.error_response.error_code == CODE.NOT_FOUND.value[0]


async def test_the_port_listens_on_ipv6() -> None:
    async with (
        served(Doubler(), host="::1") as (where, _),
        grpc.aio.insecure_channel(where) as channel,
    ):
        assert await status(channel) == SERVING


def test_a_client_that_talks_no_grpc_is_let_go(server: Any) -> None:
    for words in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 1000, b"\x16\x03\x01\x02\x00"):
        with socket.create_connection(("127.0.0.1", server.grpc), timeout=60) as connection:
            connection.sendall(words)
            connection.settimeout(20)
            with suppress(ConnectionError):
                while connection.recv(65536):
                    pass


def test_health_is_read_by_grpcs_own_client(server: Any) -> None:
    code = (
        "import sys, grpc\n"
        "from grpc_health.v1 import health_pb2, health_pb2_grpc\n"
        "stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(sys.argv[1]))\n"
        "print(stub.Check(health_pb2.HealthCheckRequest(service='m'), timeout=20).status)\n"
        "print(next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)).status)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, f"127.0.0.1:{server.grpc}"],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert said.stdout.split() == ["1", "1"]
