"""The loop's ports on a history: fits in the pool, and what the watcher and the answers show."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from noria.backtest.jobs import Made
from noria.backtest.watcher import Watcher
from noria.errors import NoriaError
from noria.loop.fakes import FakeRegistry
from noria.loop.ports import ERROR_RATE, LABELLED_ROWS, ROWS_PER_DAY, Clock
from noria.loop.values import (
    Compared,
    GateResult,
    MetricQuery,
    RunPhase,
    RunRequest,
    RunResult,
    RunStatus,
    Signal,
    Verdict,
    VersionInfo,
)
from noria.measures.proportion import exact
from noria.tasks.package import package_digest
from noria.tasks.protocol import Evaluation

Ask = Callable[[RunRequest, VersionInfo | None], "Future[Made]"]
_DAY_MS: Final = 24 * 3_600_000
_OVER: Final = (RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED)


class FittedRuns:
    """A ``Pipelines`` port: a run is a fit in the pool, and its version is in the registry.

    Args:
        ask: Submits the candidate of a run, judged against a champion.
        registry: Where versions go.
        clock: The event time.
    """

    def __init__(self, ask: Ask, registry: FakeRegistry, clock: Clock) -> None:
        self._ask = ask
        self._registry = registry
        self._clock = clock
        self._futures: dict[str, Future[Made]] = {}
        self._ended: dict[str, RunStatus] = {}
        self.requests: dict[str, RunRequest] = {}
        self.made: dict[str, Made] = {}
        self.evaluations: dict[str, Evaluation] = {}

    def start(self, request: RunRequest) -> None:
        """Submit a run's fit."""
        if request.run_id in self.requests:
            return
        champion = request.champion
        info = None if champion is None else self._registry.version(request.model, champion)
        self.requests[request.run_id] = request
        self._futures[request.run_id] = self._ask(request, info)

    def status(self, run_id: str) -> RunStatus:
        """Say where a run is; one that has ended well is registered now."""
        if run_id in self._ended:
            return self._ended[run_id]
        future = self._futures.get(run_id)
        if future is None:
            return RunStatus(run_id, RunPhase.UNKNOWN)
        if not future.done():
            return RunStatus(run_id, RunPhase.RUNNING, "training")
        self._ended[run_id] = status = self._end(self.requests[run_id], future)
        return status

    def cancel(self, run_id: str) -> None:
        """Forget what a run makes."""
        if run_id in self.requests and self.status(run_id).phase not in _OVER:
            self._ended[run_id] = RunStatus(run_id, RunPhase.CANCELLED)

    def result(self, run_id: str) -> Made:
        """Wait until a run's fit has ended, and return what it left.

        Raises:
            NoriaError: The fit could not be done, whatever the rows are.
        """
        return self._futures[run_id].result()

    def _end(self, request: RunRequest, future: Future[Made]) -> RunStatus:
        made = future.result()
        if made.done.problem:
            return RunStatus(request.run_id, RunPhase.FAILED, made.done.problem)
        evaluation = made.evaluation()
        version = str(len(self.made) + 1)
        self.made[version] = made
        self.evaluations[version] = evaluation
        gates = tuple(
            GateResult(
                g.name,
                Verdict(g.verdict),
                g.detail,
                g.value,
                g.bound,
                g.samples,
                g.low,
                g.high,
                g.worth,
            )
            for g in evaluation.gates
        )
        info = VersionInfo(
            request.model,
            version,
            self._clock.now(),
            gates,
            {name: item.value for name, item in evaluation.metrics.items()},
            made.done.rows,
            request.champion,
            str(made.package),
            package_digest(made.package),
        )
        self._registry.register(info)
        result = RunResult(version, info.rows, info.metrics, gates, request.champion)
        return RunStatus(request.run_id, RunPhase.SUCCEEDED, "", result)


class Answered:
    """Who answered which of ``n`` rows, in the order of their events, and which were errors."""

    def __init__(self, event_ms: npt.NDArray[np.int64]) -> None:
        self._event_ms = event_ms
        self.versions = np.zeros(len(event_ms), dtype=np.int64)
        self.errors = np.zeros(len(event_ms), dtype=bool)

    def since(self, version: str, at: datetime) -> tuple[int, int]:
        """Return how many rows a version was asked since a time, and how many it failed."""
        first = int(np.searchsorted(self._event_ms, at.timestamp() * 1000))
        mine = self.versions[first:] == int(version)
        return int(mine.sum()), int(self.errors[first:][mine].sum())

    def per_day(self) -> float | None:
        """Return how many rows were asked a day, over the last week; None on the first day."""
        asked = int((self.versions > 0).sum())
        if not asked:
            return None
        last = self._event_ms[asked - 1]
        first = max(int(last) - 7 * _DAY_MS, int(self._event_ms[0]))
        if last - first < _DAY_MS:
            return None
        rows = asked - int(np.searchsorted(self._event_ms, first))
        return rows * _DAY_MS / float(last - first)


class WatchedMetrics:
    """A ``Metrics`` port: errors by the answers, everything that needs a label by the monitor."""

    def __init__(self, watcher: Watcher, answered: Answered) -> None:
        self._watcher = watcher
        self._answered = answered

    def measure(self, query: MetricQuery) -> Compared:
        """Measure once; the engine asks for the champion apart."""
        if query.metric == ERROR_RATE:
            asked, failed = self._answered.since(query.version, query.since)
            if not asked:
                return Compared(query.metric, query.version, None, 0)
            low, high = exact(failed, asked)
            return Compared(query.metric, query.version, failed / asked, asked, low, high)
        if query.metric == ROWS_PER_DAY:
            rate = self._answered.per_day()
            return Compared(query.metric, query.version, rate, 0 if rate is None else round(rate))
        version = None if query.metric == LABELLED_ROWS else query.version
        try:
            found = self._watcher.measure(query.metric, version, query.since.timestamp())
        except NoriaError as error:
            return Compared(query.metric, query.version, None, 0, problem=str(error))
        return Compared(
            query.metric,
            query.version,
            found.value,
            found.samples,
            found.low,
            found.high,
            lacking=found.problem,
        )

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return the monitor's signals about the present champion."""
        del model
        return self._watcher.signals()
