"""The state of one machine: what ``noria status`` and ``noria why`` read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.survey import ModelStatus, statuses, survey_one
from noria.errors import NoriaError, Unavailable
from noria.loop.ledger import LedgerEntry
from noria.loop.retraining import allowance
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State
from noria.loop.values import Command
from noria.spec import Model
from noria.ui.source import Attendance, Detail, Source, Stage, Step, Summary
from noria.ui.stage import last_of, stage_of, step_of, wanted_split
from noria.ui.watched import Watched, watch

_MONITOR_SECONDS = 5.0


class MachineSource(Source):
    """Reads a home. Looking starts nothing and makes nothing."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._home.root)

    def overview(self) -> Sequence[Summary]:
        """Return every model that was ever started here."""
        store = self._store()
        return [self._summary(seen, _state(store, seen.model)) for seen in statuses(self._home)]

    def detail(self, name: str) -> Detail | None:
        """Return one model."""
        if name not in self._home.names():
            return None
        store = self._store()
        state = _state(store, name)
        model = self._model(name)
        allowed = None
        if model is not None and state is not None and store is not None:
            allowed = allowance(model.spec, state, self._now(store, name, state))
        return Detail(
            summary=self._summary(survey_one(self._home, name), state),
            model=model,
            state=state,
            allowance=allowed,
            waiting=() if store is None else store.inbox(name),
        )

    def watched(self, detail: Detail) -> Watched:
        """Ask the monitor, if its process runs."""
        name = detail.summary.name
        monitor = MonitorProcess(self._home.file(name), self._home.monitor(name))
        if not monitor.alive:
            raise Unavailable("the monitor does not run", fix="noria up")
        with monitor.fresh_client(_MONITOR_SECONDS) as client:
            return watch(client, name)

    def entries(self, name: str) -> Iterator[LedgerEntry]:
        """Yield the ledger."""
        store = self._store()
        return iter(()) if store is None else store.entries(name)

    def submit(self, name: str, command: Command) -> bool:
        """Put a command into the inbox, which is made when there is none."""
        return SqliteStore(self._home.store).submit(name, command)

    def _store(self) -> SqliteStore | None:
        return SqliteStore(self._home.store) if self._home.store.exists() else None

    def _model(self, name: str) -> Model | None:
        try:
            return self._home.model(name)[0]
        except NoriaError:
            return None  # the survey names the problem

    def _now(self, store: SqliteStore, name: str, state: State) -> datetime:
        """Return the loop's time: in a replay that of the last decision."""
        if self._home.clock(name) == "event":
            for entry in store.entries(name, after=max(state.head.sequence - 1, 0)):
                return entry.at
        return datetime.now(UTC)

    def _summary(self, seen: ModelStatus, state: State | None) -> Summary:
        return Summary(
            name=seen.model,
            stage=stage_of(state),
            attendance=_attendance(seen),
            champion=seen.champion,
            candidate=seen.candidate,
            weights=seen.weights or wanted_split(state),
            in_force=bool(seen.weights),
            step=self._step(seen.model, state),
            paused=seen.paused,
            last=None if state is None else last_of(state),
            retrains_left=seen.retrains_left,
            drift=_drift(seen.drift),
            performance=seen.performance,
            alerts=() if state is None else [f"{a.name}: {a.text}" for a in state.alerts],
            breaker_open=seen.breaker_open,
            problem=seen.problem,
            url=seen.url,
        )

    def _step(self, name: str, state: State | None) -> Step | None:
        if stage_of(state) is not Stage.CANARY or state is None:
            return None
        model = self._model(name)
        return None if model is None else step_of(model.spec, state)


def _state(store: SqliteStore | None, name: str) -> State | None:
    stored = None if store is None else store.load(name)
    return None if stored is None else stored.state


def _attendance(seen: ModelStatus) -> Attendance:
    if any(process.startswith("loop") for process in seen.processes):
        return Attendance.TURNING
    return Attendance.UNATTENDED if seen.weights else Attendance.STOPPED


def _drift(said: str | None) -> str | None:
    """Turn the survey's words into "nothing" (empty) and "unknown" (None)."""
    if said is None or said.startswith("the monitor") or said == "no window yet":
        return None
    return "" if said == "none" else said
