"""``noria up``: keeps every model of a home turning until it is told to stop."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from noria.embedded.clocks import WallClock
from noria.embedded.home import Home, write_json
from noria.embedded.status import supervisor
from noria.embedded.system import System
from noria.errors import InvalidInput, NoriaError
from noria.process import ProcessId, start_time

_CYCLE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 90.0
_log = logging.getLogger(__name__)


def supervise(home: Home, files: Sequence[Path], tell: Callable[[str], None]) -> None:
    """Serve, watch and retrain until SIGTERM or Ctrl-C; then stop every process.

    What a killed supervisor left running is adopted, what it left undone is done.

    Raises:
        InvalidInput: No model is given or known, or a supervisor runs here already.
        NoriaError: A part can't be started at all.
    """
    home.create()
    with _alone(home):
        paths = list(files) or [home.model(name)[1] for name in home.names()]
        if not paths:
            raise InvalidInput(f"no model is known in {home.root}", fix="name one: -f model.yaml")
        systems = [System(home, path, clock=WallClock()) for path in paths]
        stop = threading.Event()
        with _signals(stop):
            try:
                for system in systems:
                    tell(f"{system.name}: starting the monitor, the proxy and the registry")
                    system.start()
                while not stop.is_set():
                    for system in systems:
                        _turn(system, tell)
                    stop.wait(_CYCLE_SECONDS)
            finally:
                tell("stopping")
                for system in systems:
                    system.stop()


def stop(home: Home) -> None:
    """Stop the supervisor of a home, and what one that was killed left running.

    Raises:
        NoriaError: It does not end in a minute and a half.
    """
    found = supervisor(home)
    if found is not None:
        found.signal(signal.SIGTERM)
        if not found.wait(_STOP_SECONDS):
            raise NoriaError(
                f"noria up (pid {found.pid}) does not end", fix=f"kill it: kill -9 {found.pid}"
            )
    for name in home.names():
        System(home, home.model(name)[1], clock=WallClock()).stop()


def _turn(system: System, tell: Callable[[str], None]) -> None:
    """Turn one model's loop. Trouble with one part is told and tried again."""
    try:
        system.ensure()
        decision = system.turn()
    except NoriaError as error:
        tell(f"{system.name}: {error}")
        return
    for note in decision.explanation:
        if note.change:
            tell(f"{system.name}: {note.text}")


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Hold the home's lock, which the kernel lets go of however this process ends."""
    handle = os.open(home.root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = supervisor(home)
            who = f"pid {found.pid}" if found is not None else "another process"
            raise InvalidInput(
                f"{home.root} is already supervised by {who}",
                fix="see `noria status`, or stop it with `noria down`",
            ) from None
        process = ProcessId(os.getpid(), start_time(os.getpid()) or "")
        write_json(home.supervisor, {"pid": process.pid, "started": process.started})
        yield
        home.supervisor.unlink(missing_ok=True)
    finally:
        os.close(handle)


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    def ask(number: int, frame: FrameType | None) -> None:
        _log.info("signal %s at %s", number, frame)
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
