"""The gRPC port's border: every method goes through it, whatever service it belongs to.

Here, and nowhere else, it is decided what is done with bytes that are no message, with an
exception that nobody foresaw, with a client that sends or reads too slowly, and with too
many calls: a status and a short text, counted, and logged within bounds. Messages come as
bytes, and are parsed inside: what grpc.aio's own deserializer raises would be UNKNOWN, with
a traceback for each call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import grpc

from noria.seldom import Seldom
from serving.oip.wire import check_fields
from serving.refusal import Refusal
from serving.service import InferenceService

_log: Final = logging.getLogger("serving.grpc")

_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
_DETAIL_BYTES: Final = 1200
"""gRPC sends a text in a header, percent-encoded: three times its bytes at worst."""
_LOG_SECONDS: Final = 10.0

Unary = Callable[[Any, Any], Awaitable[Any]]
Conversation = Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What calls may do: sizes in bytes, times in seconds.

    Attributes:
        max_message: The largest message, decompressed.
        receive_seconds: How long a message may take to come.
        hurried_seconds: The same while others wait for its place.
        write_seconds: How long an answer may take to be read.
        max_calls: Calls at once.
        max_calls_of_one: Calls at once of one address: nobody alone can take them all.
        max_held: Messages and answers of all calls together.
    """

    max_message: int
    receive_seconds: float = 30.0
    hurried_seconds: float = 1.0
    write_seconds: float = 30.0
    max_calls: int = 2000
    max_calls_of_one: int = 1000
    max_held: int = 1 << 30

    @property
    def places(self) -> int:
        """How many messages may be coming at once."""
        return max(_FEWEST_PLACES, min(_MOST_PLACES, self.max_held // self.max_message))


_FEWEST_PLACES: Final = 4
_MOST_PLACES: Final = 256


def options(max_message: int) -> list[tuple[str, int]]:
    """Return what gRPC itself has to bound: sizes in bytes, times in milliseconds."""
    return [
        ("grpc.max_receive_message_length", max_message),  # also after decompression
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.absolute_max_metadata_size", 16 * 1024),
        ("grpc.max_concurrent_streams", 1000),
        ("grpc.max_allowed_incoming_connections", 1000),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_connection_idle_ms", 150_000),
        ("grpc.max_connection_age_ms", 3_600_000),
        ("grpc.max_connection_age_grace_ms", 60_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.so_reuseport", 0),
    ]


class Door:
    """Lets calls in and answers out.

    Args:
        service: Whose calls they are; it counts them.
        limits: What they may do.
    """

    def __init__(self, service: InferenceService, limits: GrpcLimits) -> None:
        self._service = service
        self._limits = limits
        self._account = _Account()
        self._places = asyncio.Semaphore(limits.places)
        self._patient: dict[asyncio.Timeout, float] = {}
        self._seldom = Seldom(_LOG_SECONDS)

    def unary(self, request: Any, method: Unary, *, counted: bool = False) -> grpc.RpcMethodHandler:
        """Return the handler of a method with one message in and one out.

        Args:
            request: The class of its message.
            method: Gets the message and the call's context.
            counted: Whether they are inference requests, whose answers and latency are counted.
        """

        async def serve(_: Any, context: Any) -> None:
            with _Call(self._account, context.peer()) as call:
                began = 0.0
                try:
                    message = await self._receive(call, context, request)
                    began = perf_counter() if counted else 0.0
                    answer = (await method(message, context)).SerializeToString()
                    call.hold(len(answer))
                    if began:
                        self._service.metrics.answered("grpc", 200, perf_counter() - began)
                    began = 0.0
                    await self._send(context, answer)
                except Exception as error:  # noqa: BLE001 - becomes a status and a message
                    await self._refuse(context, error, began)

        return grpc.stream_stream_rpc_method_handler(serve)

    def conversation(self, request: Any, method: Conversation) -> grpc.RpcMethodHandler:
        """Return the handler of a method with any number of messages in and out."""

        async def serve(_: Any, context: Any) -> None:
            with _Call(self._account, context.peer()) as call:

                async def messages() -> AsyncIterator[Any]:
                    with suppress(_NoMore):
                        while True:
                            yield await self._receive(call, context, request)

                try:
                    async for answer in method(messages(), context):
                        await self._send(context, answer.SerializeToString())
                except Exception as error:  # noqa: BLE001 - becomes a status and a message
                    await self._refuse(context, error)

        return grpc.stream_stream_rpc_method_handler(serve)

    async def _receive(self, call: _Call, context: Any, kind: Any) -> Any:
        """Return the next message."""
        call.let_go()
        self._check_room(call)
        try:
            async with asyncio.timeout(self._limits.receive_seconds) as limit:
                if self._places.locked():
                    self._hurry()
                async with self._places:
                    self._patient[limit] = asyncio.get_running_loop().time()
                    try:
                        raw = await context.read()
                    finally:
                        self._patient.pop(limit, None)
        except TimeoutError as error:
            raise Refusal(408, "request: its message did not come in time") from error
        if raw is grpc.aio.EOF:
            raise _NoMore(400, "request: there is no message")
        call.hold(len(raw))
        check_fields(raw)
        try:
            return kind.FromString(raw)
        except Exception as error:
            # Whatever protobuf makes of foreign bytes, they are the client's.
            raise Refusal(
                400, f"request: {len(raw)} bytes that are no {kind.DESCRIPTOR.full_name}"
            ) from error

    def _check_room(self, call: _Call) -> None:
        limits, account = self._limits, self._account
        if account.calls > limits.max_calls or call.of_its_address > limits.max_calls_of_one:
            raise Refusal(429, "server: too many calls at once; call again later")
        if account.bytes > limits.max_held:
            raise Refusal(429, "server: too many bytes are being answered; call again later")

    def _hurry(self) -> None:
        """Cut short who has been sending for the longest, for those who wait for a place."""
        for limit, since in self._patient.items():
            now = asyncio.get_running_loop().time()
            limit.reschedule(max(now, since + self._limits.hurried_seconds))
            del self._patient[limit]
            return

    async def _send(self, context: Any, answer: bytes) -> None:
        try:
            async with asyncio.timeout(self._limits.write_seconds):
                await context.write(answer)
        except TimeoutError as error:
            raise Refusal(408, "response: it was not read in time") from error

    async def _refuse(self, context: Any, error: Exception, began: float = 0.0) -> None:
        """Tell the client. ``began``: when the predictor's side began; 0: it is not its turn."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if context.cancelled() or context.done():
            return  # nobody is there to be told
        refusal = self._service.faults.refusal(error)
        if began:
            self._service.metrics.answered("grpc", refusal.status, perf_counter() - began)
        else:
            # How slowly a client sends or reads says nothing about the version's latency.
            self._service.metrics.refused("grpc", refusal.status)
        if refusal.status == 400 and refusal.__cause__ is not None and (n := self._seldom.now()):
            _log.warning(
                "%d calls, lately, could not be read; the last from %s: %s (%s)",
                n, context.peer()[:100], refusal, type(refusal.__cause__).__name__,
            )  # fmt: skip
        code = _CODES.get(refusal.status, grpc.StatusCode.INVALID_ARGUMENT)
        await context.abort(code, _brief(str(refusal)))


class _NoMore(Refusal):
    """The client has sent all that it wanted to send."""


class _Account:
    """What all calls hold together."""

    def __init__(self) -> None:
        self.calls = 0
        self.calls_of: dict[str, int] = {}
        self.bytes = 0


class _Call:
    """What one call adds to the account, from its start to its end."""

    __slots__ = ("_account", "_address", "_bytes")

    def __init__(self, account: _Account, peer: str) -> None:
        self._account = account
        self._address = peer.rpartition(":")[0]
        self._bytes = 0

    def __enter__(self) -> _Call:
        self._account.calls += 1
        self._account.calls_of[self._address] = self.of_its_address + 1
        return self

    def __exit__(self, *_: object) -> None:
        self._account.calls -= 1
        self._account.calls_of[self._address] -= 1
        if not self._account.calls_of[self._address]:
            del self._account.calls_of[self._address]
        self.let_go()

    @property
    def of_its_address(self) -> int:
        return self._account.calls_of.get(self._address, 0)

    def hold(self, size: int) -> None:
        self._bytes += size
        self._account.bytes += size

    def let_go(self) -> None:
        self._account.bytes -= self._bytes
        self._bytes = 0


def _brief(text: str) -> str:
    raw = text.encode(errors="replace")
    if len(raw) <= _DETAIL_BYTES:
        return text
    return raw[:_DETAIL_BYTES].decode(errors="ignore") + "…"
