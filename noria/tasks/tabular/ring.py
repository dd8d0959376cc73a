"""Processes that fit one LightGBM model together: who they are, and whether they all live.

LightGBM's own sockets need every process's address before the first fit, and a process that
waits for one that has ended may wait for ever. So the process of rank 0 is asked first: each
other one keeps a connection with it (the *watch*), tells where LightGBM will listen, gets the
addresses of all, and says when it has done its part. A connection that ends before that is a
process that has ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, TypeVar

import msgspec

from noria.errors import TrainingError
from noria.tasks.tabular.together import PATIENCE, RETRY, World, resolved

T = TypeVar("T")

_DONE: Final = b"done\n"
_LINE_BYTES: Final = 1 << 16
_SECONDS_OF_MINUTE: Final = 60
_ADDRESSES: Final = re.compile(r"^(\[(?:machines|local_listen_port): )[^\]]*\]$", re.MULTILINE)
_GRACE: Final = 5.0
"""Seconds that LightGBM has to notice by itself that a process has ended."""


@contextmanager
def joined(world: World) -> Iterator[World]:
    """Join the processes that train with LightGBM; the world then has the addresses of all.

    Args:
        world: Which process this is. Once in a process.

    Raises:
        TrainingError: The others can't be reached, or one has ended before all were done.
    """
    said = f"process {world.rank} of {world.size}, which train together by {world.address}"
    with contextlib.ExitStack() as stack:
        try:
            found, peers = _met(world, stack)
        except (OSError, msgspec.MsgspecError) as error:
            raise TrainingError(f"{said}: the others can't be reached: {error}") from error
        watch = _Watch(said, peers)
        watch.start()
        try:
            yield found
            watch.finish()
        except TrainingError as error:
            # LightGBM says of its sockets what the watch says of the process.
            if watch.lost_soon():
                raise TrainingError(f"{watch.lost}: {error}") from error
            raise
        finally:
            watch.leave()
        if watch.lost:
            raise TrainingError(watch.lost)


def _met(world: World, stack: contextlib.ExitStack) -> tuple[World, dict[int, socket.socket]]:
    """Return the world with all addresses, and the connections that are watched, by rank."""
    address = resolved(world.address)
    if world.rank != 0:
        lead = stack.enter_context(_connected(address, world.port))
        here = lead.getsockname()[0]
        _say(lead, _Here(world.rank, f"{here}:{_free(here)}"))
        return replace(world, machines=_hear(lead, _Everybody).machines), {0: lead}
    with socket.create_server((address, world.port), backlog=world.size) as listener:
        listener.settimeout(PATIENCE)
        peers: dict[int, socket.socket] = {}
        machines = {0: f"{address}:{_free(address)}"}
        while len(machines) < world.size:
            peer = stack.enter_context(listener.accept()[0])
            told = _hear(peer, _Here)
            peers[told.rank], machines[told.rank] = peer, told.at
    every = tuple(machines[rank] for rank in sorted(machines))
    for peer in peers.values():
        _say(peer, _Everybody(every))
    return replace(world, machines=every), peers


def _connected(address: str, port: int) -> socket.socket:
    """Return a connection with the process of rank 0, which may not listen yet."""
    last: OSError | None = None
    waiting = threading.Event()
    for _ in range(int(PATIENCE / RETRY)):
        try:
            found = socket.create_connection((address, port), timeout=PATIENCE)
        except OSError as error:
            last = error
            waiting.wait(RETRY)
        else:
            return found
    raise last or TimeoutError(f"nobody listens at {address}:{port}")


def _free(address: str) -> int:
    """Return a port that LightGBM can listen at."""
    with socket.socket() as taken:
        taken.bind((address, 0))
        port: int = taken.getsockname()[1]
    return port


class _Here(msgspec.Struct, frozen=True):
    """What a process says: its rank, and where its LightGBM will listen."""

    rank: int
    at: str


class _Everybody(msgspec.Struct, frozen=True):
    """What it is told: where each listens, by rank."""

    machines: tuple[str, ...]


def _say(peer: socket.socket, told: _Here | _Everybody) -> None:
    peer.sendall(msgspec.json.encode(told) + b"\n")


def _hear(peer: socket.socket, kind: type[T]) -> T:
    peer.settimeout(PATIENCE)
    heard = b""
    while not heard.endswith(b"\n"):
        part = peer.recv(_LINE_BYTES)
        if not part:
            raise ConnectionError("a process ended before all had met")
        heard += part
    return msgspec.json.decode(heard, type=kind)


class _Watch:
    """Sees each of the other processes do its part, or end before."""

    def __init__(self, said: str, peers: dict[int, socket.socket]) -> None:
        self._said, self._peers = said, peers
        self._left = threading.Event()
        self._over = {rank: threading.Event() for rank in peers}
        self._lost = threading.Event()
        self.lost = ""

    def start(self) -> None:
        """Watch each connection in a thread of its own."""
        for rank, peer in self._peers.items():
            peer.settimeout(None)
            threading.Thread(target=self._watch, args=(rank, peer), daemon=True).start()

    def finish(self) -> None:
        """Say that this process has done its part, and wait until all others have."""
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.sendall(_DONE)
        for over in self._over.values():
            over.wait(PATIENCE)

    def leave(self) -> None:
        """Let go of the others: what becomes of them is no matter any more."""
        self._left.set()
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def lost_soon(self) -> bool:
        """Whether one has ended, or is seen to in a moment."""
        return self._lost.wait(_GRACE)

    def _watch(self, rank: int, peer: socket.socket) -> None:
        heard = b""
        with contextlib.suppress(OSError):
            while not heard.endswith(_DONE) and (part := peer.recv(_LINE_BYTES)):
                heard += part
        if not heard.endswith(_DONE) and not self._left.is_set():
            self.lost = f"{self._said}: process {rank} has ended before the model was fitted"
            self._lost.set()
        self._over[rank].set()
        if self._lost.is_set() and not self._left.wait(_GRACE):
            # The fit is in C, where nothing can interrupt it, and waits for ever.
            sys.stderr.write(f"{self.lost}\n")
            sys.stderr.flush()
            os._exit(1)


def settings_of(world: World) -> dict[str, object]:
    """Return LightGBM's parameters for one of the processes; none for one that is alone."""
    if not world.machines:
        return {}
    return {
        "tree_learner": "data",
        "num_machines": world.size,
        "machines": ",".join(world.machines),
        "local_listen_port": int(world.machines[world.rank].rpartition(":")[2]),
        "pre_partition": True,
        "time_out": int(PATIENCE / _SECONDS_OF_MINUTE),
    }


def without_addresses(model: str) -> str:
    """Return the text of a model without where the processes were that fitted it."""
    return _ADDRESSES.sub(r"\1]", model)
