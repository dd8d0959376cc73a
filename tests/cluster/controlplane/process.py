"""Children of the test process: they log into a file, and they die with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from noria.errors import Unavailable

_PR_SET_PDEATHSIG: Final = 1
# Loaded here: the child between fork and exec must not import or allocate much.
_LIBC: Final = ctypes.CDLL(None)
_POLL: Final = 0.05
_PORTS: Final = range(20_000, 32_000)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that are free and differ from each other.

    They are below the range that the kernel gives to outgoing connections: while
    a server restarts, none of its clients can be given its port.
    """
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for port in random.sample(_PORTS, len(_PORTS)):
            if len(found) == count:
                break
            each = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                each.bind(("127.0.0.1", port))
                found.append(port)
        return found


class Child:
    """A program that can be killed and started again with the same command."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it prints is appended to its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # One C call, loaded before the fork: nothing here can wait for a lock.
                preexec_fn=_die_with_parent,
            )

    def kill(self) -> None:
        """Kill it at once, as a crash would; nothing it holds outlives the tests."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until ``ready`` says so.

        Raises:
            Unavailable: the program ended, or was not ready in time; with the end of its log.
        """
        ends = time.monotonic() + seconds
        while not ready():
            code = self._process.poll() if self._process is not None else None
            if code is not None:
                raise Unavailable(f"{self.name} ended with code {code}:\n{self._tail()}")
            if time.monotonic() > ends:
                raise Unavailable(f"{self.name} is not ready after {seconds} s:\n{self._tail()}")
            time.sleep(_POLL)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
