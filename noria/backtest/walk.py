"""The walk: rows are answered, labels come when they were known, and the loop turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from noria.backtest.answers import Answers
from noria.backtest.history import History
from noria.backtest.ports import Answered, Ask, FittedRuns, WatchedMetrics
from noria.backtest.watcher import Watcher
from noria.clocks import ReplayClock
from noria.errors import DataError, TrainingError
from noria.loop.engine import Engine
from noria.loop.fakes import FakeAlerts, FakeRegistry, FakeTraffic, MemoryStore
from noria.loop.state import Outcome, RunRecord, State
from noria.loop.values import Signal
from noria.spec import Model

_BY_ROWS: Final = 1000
_BY_TIME: Final = 500
_ROWS_A_TURN: Final = 10
_TURNS: Final = 200
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Walked:
    """What the loop did with ``n`` streamed rows.

    ``versions`` (n,) is who answered each row; ``answers`` what each version says. ``records`` are
    by run, ``outcomes`` by version, ``splits`` the changes of the traffic, ``said`` what the
    ledger says.
    """

    versions: npt.NDArray[np.int64]
    answers: dict[str, Answers]
    runs: FittedRuns
    records: dict[str, RunRecord]
    outcomes: dict[str, Outcome]
    signals: tuple[Signal, ...]
    splits: tuple[tuple[datetime, dict[str, int]], ...]
    said: tuple[tuple[datetime, str], ...]
    state: State
    foreign_labels: int


def moment(millis: int | np.int64) -> datetime:
    """Return epoch milliseconds as an aware datetime."""
    return datetime.fromtimestamp(int(millis) / 1000, UTC)


class Walk:
    """One pass over the streamed rows of a history.

    Args:
        model: The model, without checks that need a server.
        history: Its rows.
        ask: Submits the candidate of a run.
        home: An empty folder for the monitor.
        on_turn: Hears after each turn how many rows are done, and the state.
    """

    def __init__(
        self,
        model: Model,
        history: History,
        ask: Ask,
        home: Path,
        on_turn: Callable[[datetime, int, State], None],
    ) -> None:
        self._model = model
        self._name = model.name
        first = history.start
        self._frame = history.frame.iloc[first:].reset_index(drop=True)
        self._event_ms = history.event_ms[first:]
        self._label_ms = history.label_ms[first:]
        self._by_label = np.argsort(self._label_ms, kind="stable")
        self._labelled = 0
        self._on_turn = on_turn
        self._clock = ReplayClock(moment(self._event_ms[0]))
        self._registry = FakeRegistry()
        self._traffic = FakeTraffic(prompt=True)
        self._runs = FittedRuns(ask, self._registry, self._clock)
        self._answered = Answered(self._event_ms)
        self._watcher = Watcher(
            model, self._frame, self._label_ms, home, lambda: self._clock.now().timestamp()
        )
        self._engine = Engine(
            model,
            pipelines=self._runs,
            registry=self._registry,
            traffic=self._traffic,
            metrics=WatchedMetrics(self._watcher, self._answered),
            store=MemoryStore(),
            clock=self._clock,
            alerts=FakeAlerts(),
        )
        self._answers: dict[str, Answers] = {}
        self._told: dict[str, bool] = {}
        self._records: dict[str, RunRecord] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._signals: dict[str, Signal] = {}
        self._splits: list[tuple[datetime, dict[str, int]]] = []
        self._said: list[tuple[datetime, str]] = []
        draw = np.random.default_rng(_SEED)
        self._luck = draw.random(len(self._event_ms)) * 100
        sample = model.spec.serving.payload_log.sample
        self._logged = draw.random(len(self._event_ms)) < sample

    def run(self) -> Walked:
        """Walk; returns what happened.

        Raises:
            DataError: The first version is not let in, so that nothing can be served.
        """
        try:
            state = self._settle()
            if state.champion is None:
                raise DataError(
                    f"the first version can't serve: {self._why()}",
                    fix="start later (--start), or correct the gates",
                )
            for end, rows in self._grid():
                self._answer(rows)
                self._clock.advance(moment(end))
                self._deliver(end)
                self._watcher.flush()
                state = self._settle()
                self._on_turn(self._clock.now(), rows.stop, state)
        finally:
            self._watcher.close()
        return Walked(
            self._answered.versions,
            self._answers,
            self._runs,
            self._records,
            self._outcomes,
            tuple(self._signals.values()),
            tuple(self._splits),
            tuple(self._said),
            state,
            self._watcher.foreign_labels,
        )

    def _grid(self) -> Iterator[tuple[int, slice]]:
        """Yield the time of each turn with the rows before it: dense in rows, and in time."""
        event = self._event_ms
        few = max(2, len(event) // _ROWS_A_TURN)
        by_rows = event[np.linspace(0, len(event) - 1, min(few, _BY_ROWS)).astype(np.int64)]
        by_time = np.linspace(event[0], event[-1], min(few, _BY_TIME)).astype(np.int64)
        last = 0
        for end in np.unique(np.concatenate([by_rows[1:], by_time[1:]])).tolist():
            # The last turn has the rows of its own moment, too.
            side = "right" if end >= event[-1] else "left"
            stop = int(np.searchsorted(event, end, side=side))  # type: ignore[call-overload]
            yield end, slice(last, stop)
            last = stop

    def _answer(self, rows: slice) -> None:
        """Answer rows by whoever the split chooses."""
        if rows.stop == rows.start:
            return
        weights = sorted(self._traffic.weights(self._name).items(), key=lambda item: int(item[0]))
        ends = np.cumsum([weight for _, weight in weights])
        chosen = np.searchsorted(ends, self._luck[rows], side="right")
        for place, (version, _) in enumerate(weights):
            mine = rows.start + np.flatnonzero(chosen == place)
            said = self._of(version).of(mine)
            failed = np.isnan(said) if said.ndim == 1 else np.isnan(said).any(axis=1)
            self._answered.versions[mine] = int(version)
            self._answered.errors[mine] = failed
            told = ~failed & self._logged[mine]
            self._watcher.answered(version, mine[told], said[told])

    def _of(self, version: str) -> Answers:
        found = self._answers.get(version)
        if found is None:
            found = Answers(self._runs.made[version].package, self._frame)
            self._answers[version] = found
        return found

    def _deliver(self, until_ms: int) -> None:
        stop = int(np.searchsorted(self._label_ms[self._by_label], until_ms, side="right"))
        rows = self._by_label[self._labelled : stop]
        self._labelled = stop
        seen = self._logged[rows] & ~self._answered.errors[rows]
        self._watcher.labelled(rows[seen])

    def _settle(self) -> State:
        """Turn the engine until only time can change something; runs take no time here."""
        before = self._engine.state()
        for _ in range(_TURNS):
            cycle = self._engine.cycle()
            now, decision, state = self._clock.now(), cycle.decision, cycle.state
            self._said += [(now, note.text) for note in decision.explanation if note.change]
            self._tell_watcher(state)
            self._note(state)
            if state.run is not None:
                self._runs.result(state.run.request.run_id)
            elif not decision.actions and state == before:
                return state
            before = state
        raise TrainingError(
            f"the loop of {self._name} did not come to rest within {_TURNS} turns at "
            f"{self._clock.now():%Y-%m-%d %H:%M}"
        )

    def _note(self, state: State) -> None:
        self._records.update((run.run_id, run) for run in state.runs)
        self._outcomes.update((outcome.version, outcome) for outcome in state.outcomes)
        for signal in self._watcher.signals():
            self._signals.setdefault(signal.id, signal)
        weights = {v: w for v, w in self._traffic.weights(self._name).items() if w}
        if weights and (not self._splits or self._splits[-1][1] != weights):
            self._splits.append((self._clock.now(), weights))

    def _tell_watcher(self, state: State) -> None:
        """Give the monitor the reference of every version that serves, once."""
        wanted = {} if state.rollout is None else {state.rollout.version: False}
        if state.champion is not None:
            wanted[state.champion] = True
        for version, champion in wanted.items():
            if self._told.get(version) != champion:
                reference = self._runs.made[version].reference
                self._watcher.champion(version, reference, champion=champion)
                self._told[version] = champion
                self._watcher.flush()

    def _why(self) -> str:
        """Return the last word about the first version."""
        return self._said[-1][1] if self._said else "nothing happened"
