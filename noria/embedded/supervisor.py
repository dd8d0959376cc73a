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

from noria.embedded import observability
from noria.embedded.clocks import WallClock
from noria.embedded.home import Home, read_json, write_json
from noria.embedded.scraping import Endpoint
from noria.embedded.survey import supervisor
from noria.embedded.system import System, stop_processes
from noria.errors import InvalidInput, NoriaError
from noria.process import ProcessId, start_time
from noria.spec import Model, load_model
from noria.tasks.families import check
from noria.telemetry import Turned

_CYCLE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 90.0
_log = logging.getLogger(__name__)


def supervise(home: Home, files: Sequence[Path], tell: Callable[[str], None]) -> None:
    """Serve, watch and retrain until SIGTERM or Ctrl-C; then stop every process.

    What a killed supervisor left running is adopted, what it left undone is done.
    A home that is observed (``noria.embedded.observability.choose``) has Prometheus measure
    the rollouts, and alerts bring the signals.

    Raises:
        InvalidInput: No model is given or known, or a supervisor runs here already.
        NoriaError: A part can't be started at all.
    """
    home.create()
    with _alone(home):
        paths = _paths(home, files, tell)
        watch = _Watch(home, tell)
        systems = [
            System(home, path, clock=WallClock(), prometheus=watch.prometheus) for path in paths
        ]
        stop = threading.Event()
        endpoint = Endpoint(home)
        with _signals(stop):
            try:
                watch.start([system.model for system in systems])
                for system in systems:
                    tell(f"{system.name}: starting the monitor, the proxy and the registry")
                    system.start()
                turns = [_Turns(system, tell, endpoint) for system in systems]
                while not stop.is_set():
                    for turn in turns:
                        turn()
                    watch()
                    _note(home, turned=True)
                    stop.wait(_CYCLE_SECONDS)
            finally:
                tell("stopping")
                for system in systems:
                    system.close()
                endpoint.close()
                stop_processes(home)


def stop(home: Home) -> None:
    """Stop the supervisor of a home, and what one that was killed left running.

    Raises:
        NoriaError: It does not end in a minute and a half.
    """
    if not home.root.exists():
        return
    found = supervisor(home)
    if found is not None:
        found.signal(signal.SIGTERM)
        if not found.wait(_STOP_SECONDS):
            raise NoriaError(
                f"noria up (pid {found.pid}) does not end", fix=f"kill it: kill -9 {found.pid}"
            )
    stop_processes(home)


def _paths(home: Home, files: Sequence[Path], tell: Callable[[str], None]) -> list[Path]:
    """Return the files of the models to bring up, each model once.

    Models share a proxy, which brings back whatever it served. So a model that was up here
    comes up too, named or not: what is served is also watched.
    """
    chosen: dict[str, Path] = {}
    for path in files:
        model = load_model(path)
        check(model.spec)
        name = model.name
        if name in chosen and chosen[name] != path:
            raise InvalidInput(
                f"{chosen[name]} and {path} both describe a model named {name!r}",
                fix="rename one: metadata.name",
            )
        chosen[name] = path
    for name in home.names():
        if name in chosen or (files and not home.served(name)):
            continue
        try:
            model, known = home.model(name)
            check(model.spec)
        except NoriaError as error:
            if not files:
                raise
            tell(f"{name}: was up here, but stays down: {error}")
        else:
            chosen[name] = known
    if not chosen:
        raise InvalidInput(f"no model is known in {home.root}", fix="name one: -f model.yaml")
    return list(chosen.values())


class _Watch:
    """The home's own Prometheus and Alertmanager, where it was chosen to have them."""

    def __init__(self, home: Home, tell: Callable[[str], None]) -> None:
        self._choice = observability.chosen(home)
        self._servers = observability.Observability(home)
        self._tell = tell
        self._models: Sequence[Model] = ()
        self._trouble = ""

    @property
    def prometheus(self) -> str:
        """Prometheus' address; empty where there is none."""
        return "" if self._choice is None else self._servers.prometheus.url

    def start(self, models: Sequence[Model]) -> None:
        """Bring them up.

        Raises:
            NotInstalled: They are chosen and not on this machine.
            NoriaError: One does not start.
        """
        self._models = models
        if self._choice is not None:
            self._tell("starting Prometheus, Alertmanager and the receiver of alerts")
            self._servers.start(models, self._choice)
            self._tell(f"Prometheus is at {self.prometheus}")

    def __call__(self) -> None:
        """Start again what was killed; trouble is told once, and tried again each time."""
        if self._choice is None:
            return
        try:
            self._servers.ensure(self._models, self._choice)
        except NoriaError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._tell(str(error))
            return
        self._trouble = ""


class _Turns:
    """Turns one model's loop. Trouble with a part is told once, and tried again each time."""

    def __init__(self, system: System, tell: Callable[[str], None], endpoint: Endpoint) -> None:
        self._system = system
        self._tell = tell
        self._endpoint = endpoint
        self._trouble = ""

    def __call__(self) -> None:
        name = self._system.name
        try:
            self._system.ensure()
            decision = self._system.turn()
            state = self._system.engine.state()
        except NoriaError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._tell(f"{name}: {error}")
            return
        self._endpoint.publish(Turned(self._system.model, state, self._system.now()))
        if self._trouble:
            self._trouble = ""
            self._tell(f"{name}: all parts answer again")
        for note in decision.explanation:
            if note.change:
                self._tell(f"{name}: {note.text}")


def _note(home: Home, *, turned: bool) -> None:
    """Say who supervises, and whether each loop has turned: only then the state is the present."""
    process = ProcessId(os.getpid(), start_time(os.getpid()) or "")
    note = {"pid": process.pid, "started": process.started, "turned": turned}
    if read_json(home.supervisor) != note:
        write_json(home.supervisor, note)


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
        _note(home, turned=False)
        try:
            yield
        finally:
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
