"""Sends what is drawn to a server, and holds the server to its invariants."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.other import another_client
from tests.fuzz.servers import Server
from tests.fuzz.strategies import Strategy
from tests.fuzz.tally import Tally

_ANSWER_SECONDS: Final = 20.0
_BATCH: Final = 100
# What a client may be told; the rest would be our fault.
_GRPC_BROKEN: Final = frozenset(
    {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS}
)

Send = Callable[[Server, Tally, Any], None]


@dataclass(frozen=True, slots=True)
class Door:
    """A door: the server behind it, what is drawn, how it is sent, what a client asks meanwhile."""

    name: str
    server: Server
    drawn: Strategy
    send: Send
    asked: bytes

    def run(self, seconds: float, first_seed: int) -> Tally:
        """Send for so long; the same seed draws the same messages."""
        tally = Tally(self.name)
        self.server.start()
        try:
            tally.start = tally.peak = self.server.resident
            with another_client(self.server, self.asked) as alone:
                time.sleep(min(2.0, seconds / 4))
            with another_client(self.server, self.asked) as beside:
                self._attack(tally, seconds, first_seed)
            tally.alone, tally.beside = alone.p99, beside.p99
        finally:
            self.server.stop()
        tally.tracebacks += self.server.new_tracebacks()
        return tally

    def _attack(self, tally: Tally, seconds: float, first_seed: int) -> None:
        deadline = time.monotonic() + seconds
        number = first_seed
        while time.monotonic() < deadline:
            number += 1

            @seed(number)
            @settings(
                max_examples=_BATCH,
                deadline=None,
                database=None,
                phases=(Phase.generate,),
                suppress_health_check=tuple(HealthCheck),
            )
            @given(message=self.drawn)
            def batch(message: Any) -> None:
                if time.monotonic() < deadline:
                    self._one(tally, message)

            batch()

    def _one(self, tally: Tally, message: Any) -> None:
        self.send(self.server, tally, message)
        tally.peak = max(tally.peak, self.server.resident)
        if tracebacks := self.server.new_tracebacks():
            tally.tracebacks += tracebacks
            tally.keep("traceback", repr(message).encode())
        if not self.server.alive:
            tally.dead += 1
            tally.keep("dead", repr(message).encode())
            self.server.start()


def send_http(server: Server, tally: Tally, message: bytes) -> None:
    """Send bytes on a connection of their own, say that no more will come, and read the status."""
    answer = b""
    try:
        with socket.create_connection((server.host, server.port), _ANSWER_SECONDS) as sock:
            try:
                sock.sendall(message)
                sock.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before it was all sent; the answer may be there all the same
            deadline = time.monotonic() + _ANSWER_SECONDS
            while len(answer) < 65536 and (piece := sock.recv(65536)):
                answer += piece
                sock.settimeout(max(deadline - time.monotonic(), 0.01))
    except TimeoutError:
        tally.tried += 1
        tally.hangs += 1
        tally.keep("hang", message)
        return
    except ConnectionResetError:
        pass
    for status in _statuses(answer) or [0]:
        tally.status(status, message)


def _statuses(answer: bytes) -> list[int]:
    """Return the final statuses at the starts of answers; interim ones are left out."""
    found = []
    for piece in answer.split(b"HTTP/1.1 ")[1:2]:
        code = piece[:3]
        if code.isdigit() and code != b"100":
            found.append(int(code))
    return found


def send_grpc(server: Server, tally: Tally, message: tuple[str, bytes]) -> None:
    """Call a method with bytes."""
    method, body = message
    with grpc.insecure_channel(f"{server.host}:{server.grpc}") as channel:
        call = channel.unary_unary(method)
        try:
            call(body, timeout=_ANSWER_SECONDS)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                tally.tried += 1
                tally.hangs += 1
                tally.keep("hang", repr(message).encode())
            elif code in _GRPC_BROKEN:
                tally.status(500, repr(message).encode())
            else:
                tally.status(400, b"")
            return
    tally.status(200, b"")
