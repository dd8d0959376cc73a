"""``noria up``: keeps every model of a home turning until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from noria.clocks import WallClock
from noria.embedded import observability
from noria.embedded.home import Home
from noria.embedded.own_server import caution, served_here
from noria.embedded.scraping import Endpoint
from noria.embedded.source_labels import SourceLabels
from noria.embedded.survey import Supervisor, Turn, supervisor
from noria.embedded.system import System, stop_processes
from noria.errors import InvalidInput, NoriaError, Unavailable, shorten, traceback_tail
from noria.files import clear, locked, read_json, write_json
from noria.process import ProcessId, start_time
from noria.spec import Model, load_model
from noria.tasks.families import require
from noria.telemetry import Turned

_CYCLE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 90.0
_NOTE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.1
_LOCK: Final = "up.lock"
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
    home.create().keep_private()
    with alone(home):
        paths = _paths(home, files, tell)
        watch = _Watch(home, tell)
        systems = [
            System(home, path, clock=WallClock(), prometheus=watch.prometheus) for path in paths
        ]
        labels = [
            SourceLabels(home, system.model, path)
            for system, path in zip(systems, paths, strict=True)
        ]
        stop = threading.Event()
        endpoint = Endpoint(home)
        with _signals(stop):
            try:
                watch.start([system.model for system in systems])
                for path in paths:
                    said = caution(load_model(path).spec)
                    if said:
                        tell(said)
                for system in systems:
                    tell(f"{system.name}: starting the monitor, the proxy and the registry")
                    system.start()
                turns = [
                    _Turns(home, system, tell, endpoint, sent)
                    for system, sent in zip(systems, labels, strict=True)
                ]
                while not stop.is_set():
                    others = watch()
                    for turn in turns:
                        turn(others)
                    try:
                        _note(home, turned=True)
                    except NoriaError as error:  # told, and tried again each time
                        _log.warning("%s", error)
                    stop.wait(_CYCLE_SECONDS)
            finally:
                tell("stopping")
                for sent in labels:
                    sent.close()
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
    found = _found(home)
    if found is not None:
        found.signal(signal.SIGTERM)
        if not found.wait(_STOP_SECONDS):
            raise NoriaError(
                f"noria up (pid {found.pid}) does not end", fix=f"kill it: kill -9 {found.pid}"
            )
    stop_processes(home)


def _found(home: Home) -> ProcessId | None:
    """Return the supervisor of a home; one whose note was damaged writes it again in its turn.

    Raises:
        Unavailable: One runs, and does not say who it is.
    """
    deadline = time.monotonic() + _NOTE_SECONDS
    while True:
        found = supervisor(home)
        if found is not None:
            return found
        with locked(home.root / _LOCK, wait=False) as lock:
            if lock is not None:
                return None
        if time.monotonic() > deadline:
            raise Unavailable(
                f"`noria up` runs in {home.root}, but its note {home.supervisor.name} is damaged "
                "and it does not write it again",
                fix="end it with Ctrl-C in its terminal or by its process id, then run this again",
            )
        time.sleep(_POLL_SECONDS)


def _paths(home: Home, files: Sequence[Path], tell: Callable[[str], None]) -> list[Path]:
    """Return the files of the models to bring up, each model once.

    Models share a proxy, which brings back whatever it served. So a model that was up here
    comes up too, named or not: what is served is also watched.
    """
    chosen: dict[str, Path] = {}
    for path in files:
        model = served_here(load_model(path))
        require(model.spec)
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
            require(served_here(model).spec)
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

    def __call__(self) -> list[str]:
        """Start again what was killed; returns what is wrong."""
        if self._choice is None:
            return []
        try:
            self._servers.ensure(self._models, self._choice)
        except NoriaError as error:
            return [str(error)]
        return self._servers.problems()


class _Turns:
    """Turns one model's loop. Trouble with a part is told once, and tried again each time."""

    def __init__(
        self,
        home: Home,
        system: System,
        tell: Callable[[str], None],
        endpoint: Endpoint,
        labels: SourceLabels,
    ) -> None:
        self._note = home.turn(system.name)
        self._system = system
        self._labels = labels
        self._tell = tell
        self._endpoint = endpoint
        self._told: tuple[str, ...] = ()

    def __call__(self, others: Sequence[str]) -> None:
        """Turn once; ``others`` is what is wrong with the parts that all models share."""
        found: list[str] = []
        try:
            found += self._system.ensure()
            cycle = self._system.turn()
            found += (f"{port}: {why}" for port, why in cycle.problems.items())
            found += filter(None, [self._system.tell_monitor(cycle.state)])
            found += self._labels.ensure()
            self._endpoint.publish(Turned(self._system.model, cycle.state, self._system.now()))
            for note in cycle.decision.explanation:
                if note.change:
                    self._tell(f"{self._system.name}: {note.text}")
        except NoriaError as error:
            found.append(str(error))
        except Exception as error:  # noqa: BLE001 - the loops must outlive what nobody foresaw
            _log.error("%s: the turn failed: %s", self._system.name, traceback_tail(error))
            found.append(f"the turn failed: {type(error).__name__}: {shorten(str(error), 300)}")
        self._say(tuple(dict.fromkeys((*found, *others))))

    def _say(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            if problem not in self._told:
                self._tell(f"{self._system.name}: {problem}")
        if self._told and not problems:
            self._tell(f"{self._system.name}: all parts answer again")
        self._told = problems
        try:
            if read_json(self._note, Turn) != Turn(problems):
                write_json(self._note, Turn(problems))
            os.utime(self._note)
        except (NoriaError, OSError) as error:
            _log.warning("%s can't be noted: %s", self._note, error)


def _note(home: Home, *, turned: bool) -> None:
    """Say who supervises, and whether each loop has turned: only then the state is the present."""
    note = Supervisor(os.getpid(), start_time(os.getpid()) or "", turned)
    if read_json(home.supervisor, Supervisor) != note:
        write_json(home.supervisor, note)


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Hold the home's lock, which the kernel lets go of however this process ends."""
    with locked(home.root / _LOCK, wait=False) as lock:
        # The lock's file may have been taken away under a supervisor that goes on.
        found = supervisor(home)
        if lock is None or found is not None:
            who = f"pid {found.pid}" if found is not None else "another process"
            raise InvalidInput(
                f"{home.root} is already supervised by {who}",
                fix=f"see {home.command('status')}, or stop it with {home.command('down')}",
            )
        _note(home, turned=False)
        try:
            yield
        finally:
            clear(home.supervisor)
            home.supervisor.unlink(missing_ok=True)


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
