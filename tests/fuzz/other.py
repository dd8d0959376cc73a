"""Another client of a server that is attacked: a process of its own, which times its answers.

``python -m tests.fuzz.other PORT``: asks what stdin holds every 20 ms, on a new connection every
tenth time, until SIGTERM; then prints the p99 of the
good answers (2xx) in milliseconds, connecting included.
"""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.fuzz.servers import Server

_EVERY: Final = 0.02
_PER_CONNECTION: Final = 10
_ANSWER_SECONDS: Final = 30.0
_END_SECONDS: Final = 60.0


@dataclass
class Seen:
    """What the other client saw; None when it was answered fewer than twice."""

    p99: float | None = None


@contextmanager
def another_client(server: Server, asked: bytes) -> Iterator[Seen]:
    """Have another client ask while the block runs; the result is there after it."""
    seen = Seen()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.other", str(server.port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(asked)
    process.stdin.close()
    process.stdin = None
    assert process.stdout is not None
    process.stdout.readline()  # it has started
    try:
        yield seen
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=_END_SECONDS)
        seen.p99 = float(said) if said.strip() else None


def main(port: int) -> None:
    """Ask until SIGTERM."""
    waits: list[float] = []
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    asked = sys.stdin.buffer.read()
    print("started", flush=True)
    while not ended:
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), _ANSWER_SECONDS) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(_PER_CONNECTION):
                    sock.sendall(asked)
                    if not sock.recv(65536).startswith(b"HTTP/1.1 2"):
                        break
                    waits.append(time.monotonic() - began)
                    time.sleep(_EVERY)
                    began = time.monotonic()
        except OSError:
            time.sleep(_EVERY)  # the server was just killed, or is started again
    if len(waits) > 1:
        print(statistics.quantiles(waits, n=100)[98] * 1000)


if __name__ == "__main__":
    main(int(sys.argv[1]))
