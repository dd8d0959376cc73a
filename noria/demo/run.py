"""The demo: January trains, February to December are replayed, and the loop does the rest.

Nothing here decides anything about the model. The driver moves the clock, sends
each flight when it is due, sends each label when that flight has landed, and
lets the same engine turn that ``noria up`` turns. Time stands still while a
pipeline runs: a run's rows are those whose labels were known when it started.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from noria.demo.chronicle import Chronicle
from noria.demo.display import DemoView, Display, RollingView
from noria.demo.figures import Figures, Mode, Retrains
from noria.demo.measure import Answers, auc, measure, no_change
from noria.demo.report import write_report
from noria.demo.rivals import Rivals, local_times, month_start
from noria.demo.stage import Stage, set_up
from noria.demo.summary import print_summary
from noria.embedded.clocks import ReplayClock
from noria.embedded.home import Home, write_json
from noria.embedded.system import System
from noria.errors import DataError, MonitoringError
from noria.loop.retraining import allowance
from noria.replay import Client, History, Labels, infer_body, moment, read_history, steps

_HOUR_MS: Final = 3_600_000
_CYCLE_MS: Final = 12 * _HOUR_MS
_BUSY_CYCLE_MS: Final = 3 * _HOUR_MS
_MOST_ROWS: Final = 64
_ROLLING_ROWS: Final = 2000
_LABEL_BATCH: Final = 500
_CATCH_UP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Request:
    """What to run: the sample, the seed, where its state goes and what it writes at the end."""

    mode: Mode
    seed: int
    home: Path
    report: Path
    json: Path | None = None


def run(request: Request, console: Console) -> Figures:
    """Run the demo from nothing; the state left in ``request.home`` can be asked afterwards.

    Raises:
        NoriaError: A part failed; the message says which and what to do.
    """
    started = time.monotonic()
    home = Home(request.home.absolute())
    home.forget_everything()
    home.create()
    console.print("preparing the flights of 2013 ...", style="dim")
    stage = set_up(home.root / "model", request.mode, request.seed)
    clock = ReplayClock(month_start(2))
    history = read_history(stage.model.spec, stage.base, month_start(2), month_start(13))
    system = System(home, stage.file, clock=clock, monitor_clock="event")
    with Display(console, len(history)) as display:
        try:
            display.event("starting the monitor, the proxy and the registry")
            system.start()
            replay = Replay(system, stage, clock, history, display)
            answers = replay.run()
            display.event("fitting the monthly rivals on the same rows")
            figures = _figures(request, system, stage, history, answers, replay, started)
        finally:
            system.stop()
    write_report(figures, request.report)
    if request.json is not None:
        write_json(request.json, figures.to_json())
    print_summary(console, figures, request.report)
    return figures


class Replay:
    """Walks through the year, hour by hour."""

    def __init__(
        self, system: System, stage: Stage, clock: ReplayClock, history: History, display: Display
    ) -> None:
        self._system = system
        self._clock = clock
        self._history = history
        self._display = display
        self._labels = Labels(history)
        self._scores = np.full(len(history), np.nan)
        self._frozen: npt.NDArray[np.float64] = np.empty(0)
        self._rivals = Rivals.join(stage)
        if not self._rivals.agrees(history):
            raise DataError("the demo's rows and their features are not in the same order")
        self._labelled: deque[int] = deque(maxlen=_ROLLING_ROWS)
        self._answered = 0
        self._label_count = 0
        self._told = 0
        self.chronicle = Chronicle(system)
        self._busy = False

    @property
    def rivals(self) -> Rivals:
        """All rows of the year with their features."""
        return self._rivals

    @property
    def frozen(self) -> npt.NDArray[np.float64]:
        """What the first version says about every replayed row, (n,)."""
        return self._frozen

    def run(self) -> npt.NDArray[np.float64]:
        """Train on January, replay the rest, and return the loop's scores, (n,)."""
        history, system = self._history, self._system
        self._settle("training on January")
        first = system.engine.state().champion
        if first is None:
            raise DataError(
                "the January model was not promoted", fix="see the ledger: `noria why flights`"
            )
        rows = np.zeros(len(self._rivals.event_ms), dtype=bool)
        rows[-len(history) :] = True
        self._frozen = self._rivals.frozen(system.registry.package_path("flights", first), rows)
        client = Client(system.url, "flights")
        next_cycle = history.event_ms[0] + _CYCLE_MS
        for end, rows_now in steps(history, _HOUR_MS):
            self._request(client, end, rows_now)
            if end >= next_cycle:
                self._turn(end)
                next_cycle = end + (_BUSY_CYCLE_MS if self._busy else _CYCLE_MS)
        client.close()
        last = int(history.label_ms.max()) + 1
        self._deliver(last)
        self._turn(last)
        return self._scores

    def _request(self, client: Client, end: int, rows: slice) -> None:
        """Send an hour's flights, with what was known before each."""
        history = self._history
        self._system.features_until(moment(end - _HOUR_MS))
        for start in range(rows.start, rows.stop, _MOST_ROWS):
            part = slice(start, min(start + _MOST_ROWS, rows.stop))
            answer = client.infer(infer_body(history, part), f"r{start}")
            self._scores[part] = answer.outputs["probability"]
            self._labels.answered(part, answer.request_id)
            self._answered = part.stop
        self._clock.advance(moment(end))

    def _deliver(self, until_ms: int) -> None:
        known = self._labels.known(until_ms)
        for start in range(0, len(known), _LABEL_BATCH):
            batch = [label for _, label in known[start : start + _LABEL_BATCH]]
            self._system.monitor.client.feedback("flights", batch)
        self._label_count += len(known)
        self._labelled.extend(row for row, _ in known)

    def _turn(self, end: int) -> None:
        """Deliver the labels that are known by now, and let the loop turn."""
        self._deliver(end)
        self._catch_up()
        self._settle("serving")

    def _catch_up(self) -> None:
        """Wait until the monitor has counted every answer: servers send them behind the answer."""
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while self._system.monitor.client.flush()["rows"] < self._answered:
            if time.monotonic() > deadline:
                raise MonitoringError(
                    f"the monitor has not seen all of {self._answered} answered rows",
                    fix="see the servers' logs in the home's traffic folder",
                )
            time.sleep(_POLL_SECONDS)

    def _settle(self, doing: str) -> None:
        """Turn the engine until it waits for the world: no run, no server still starting."""
        state = self._system.settle(self._show, self._display.event)
        self._busy = state.rollout is not None
        self.chronicle.observe(state)
        self._show(doing if state.rollout is None else f"canary of v{state.rollout.version}")

    def _show(self, doing: str) -> None:
        state = self._system.engine.state()
        self.chronicle.split()
        left = allowance(self._system.model.spec, state, self._clock.now()).left_in_budget
        self._display.update(
            DemoView(
                at=self._clock.now(),
                rows=self._answered,
                doing=doing,
                champion=state.champion,
                weights=self.chronicle.weights,
                windows=self.chronicle.windows,
                labels=self._label_count,
                detectors=self.chronicle.detectors,
                rolling=(self._rolling(),),
                retrains=len(self.chronicle.retrains(state)),
                retrains_left=left,
            )
        )

    def _rolling(self) -> RollingView:
        rows = np.asarray(self._labelled, dtype=np.int64)
        if len(rows) < 100 or not len(self._frozen):
            return RollingView("AUC", None, None)
        label = self._history.label[rows]
        name = f"AUC of the last {len(rows):,}"
        return RollingView(name, auc(label, self._scores[rows]), auc(label, self._frozen[rows]))


def _figures(
    request: Request,
    system: System,
    stage: Stage,
    history: History,
    scores: npt.NDArray[np.float64],
    replay: Replay,
    started: float,
) -> Figures:
    monthly = replay.rivals.monthly()[-len(history) :]
    outcome, probability = _persistence(replay.rivals, stage)
    measured = measure(
        Answers(
            event_time=local_times(history.event_ms),
            label=history.label.astype(np.int64),
            loop=scores,
            frozen=replay.frozen,
            monthly=monthly,
            last_outcome=outcome[-len(history) :],
            no_change=probability[-len(history) :],
        )
    )
    log = replay.chronicle.retrain_log(system.engine.state())
    return Figures(
        mode=request.mode,
        seed=request.seed,
        rows=measured.rows,
        auc=measured.auc,
        log_loss=measured.log_loss,
        accuracy=measured.accuracy,
        retrains=Retrains(loop=len(log), monthly=10),
        months=measured.months,
        weeks=measured.weeks,
        drifts=tuple(replay.chronicle.drifts),
        retrain_log=log,
        traffic=tuple(replay.chronicle.traffic),
        seconds=time.monotonic() - started,
    )


def _persistence(
    rivals: Rivals, stage: Stage
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    label = rivals.frame[str(stage.model.spec.data.target)].to_numpy().astype(np.int64)
    return no_change(
        rivals.event_ms.astype("datetime64[ms]"), rivals.label_ms.astype("datetime64[ms]"), label
    )
