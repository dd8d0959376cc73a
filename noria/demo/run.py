"""The demo: January trains, the months after it are replayed, and the loop does the rest.

It is ``noria replay --clock event`` on the flights example, with rivals fitted on
the same rows and a live display.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from noria.clocks import ReplayClock
from noria.demo.display import DemoView, Display, RollingView
from noria.demo.figures import LAST_MONTH, Figures, Mode, Retrains
from noria.demo.measure import Answers, auc, measure, no_change
from noria.demo.reporting import report_of
from noria.demo.rivals import Rivals, local_times, month_start
from noria.demo.stage import Stage, set_up
from noria.demo.summary import print_summary
from noria.embedded.home import Home
from noria.embedded.replaying import EventReplay, Progress
from noria.embedded.system import System
from noria.errors import DataError
from noria.files import write_json
from noria.loop.retraining import allowance
from noria.replay import History, read_history
from noria.report import write_report

_ROLLING_ROWS: Final = 2000


@dataclass(frozen=True, slots=True)
class Request:
    """What to run: the sample, the seed, where its state goes and what it writes at the end.

    ``last_month`` of the year, 3 to 12, is the last one that is replayed.
    """

    mode: Mode
    seed: int
    home: Path
    report: Path
    json: Path | None = None
    last_month: int = LAST_MONTH


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
    end = month_start(request.last_month + 1)
    history = read_history(stage.model.spec, stage.base, month_start(2), end)
    system = System(home, stage.file, clock=clock, monitor_clock="event")
    with Display(console, len(history)) as display:
        try:
            display.event("starting the monitor, the proxy and the registry")
            system.start()
            rivals = Rivals.join(stage, end)
            year = Year(system, rivals, clock, history, display)
            year.run()
            display.event("fitting the monthly rivals on the same rows")
            figures = _figures(request, stage, history, year, started)
        finally:
            system.stop()
    write_report(report_of(figures), request.report)
    if request.json is not None:
        write_json(request.json, figures.to_json())
    print_summary(console, figures, request.report)
    return figures


class Year:
    """Shows a replay of the year: the loop beside its first version, as labels come."""

    def __init__(
        self, system: System, rivals: Rivals, clock: ReplayClock, history: History, display: Display
    ) -> None:
        self._system = system
        self._history = history
        self._display = display
        self.rivals = rivals
        if not self.rivals.agrees(history):
            raise DataError("the demo's rows and their features are not in the same order")
        self.frozen: npt.NDArray[np.float64] = np.empty(0)
        """What the first version says about every replayed row, (n,)."""
        self.replay = EventReplay(system, clock, history, self._show, display.event)

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """What the loop said about every replayed row, (n,)."""
        return self.replay.answers.columns["probability"]

    def run(self) -> None:
        """Train on January, and replay the rest."""
        first = self.replay.prepare()
        rows = np.zeros(len(self.rivals.event_ms), dtype=bool)
        rows[-len(self._history) :] = True
        self.frozen = self.rivals.frozen(self.replay.package(first), rows)
        self.replay.run()

    def _show(self, at: Progress) -> None:
        state, chronicle = self._system.engine.state(), self.replay.chronicle
        self._display.update(
            DemoView(
                at=at.at,
                rows=at.rows,
                doing=at.doing,
                champion=state.champion,
                weights=chronicle.weights,
                windows=chronicle.windows,
                labels=at.labels,
                detectors=chronicle.detectors,
                rolling=(self._rolling(),),
                retrains=chronicle.retrains,
                retrains_left=allowance(self._system.model.spec, state, at.at).left_in_budget,
            )
        )

    def _rolling(self) -> RollingView:
        rows = np.asarray(self.replay.labelled[-_ROLLING_ROWS:], dtype=np.int64)
        if len(rows) < 100 or not len(self.frozen):
            return RollingView("AUC", None, None)
        label = self._history.label[rows]
        name = f"AUC of the last {len(rows):,}"
        return RollingView(name, auc(label, self.scores[rows]), auc(label, self.frozen[rows]))


def _figures(
    request: Request, stage: Stage, history: History, year: Year, started: float
) -> Figures:
    monthly = year.rivals.monthly(request.last_month)[-len(history) :]
    outcome, probability = _persistence(year.rivals, stage)
    measured = measure(
        Answers(
            event_time=local_times(history.event_ms),
            label=history.label.astype(np.int64),
            loop=year.scores,
            frozen=year.frozen,
            monthly=monthly,
            last_outcome=outcome[-len(history) :],
            no_change=probability[-len(history) :],
        )
    )
    chronicle = year.replay.chronicle
    log = chronicle.retrain_log()
    return Figures(
        mode=request.mode,
        seed=request.seed,
        rows=measured.rows,
        auc=measured.auc,
        log_loss=measured.log_loss,
        accuracy=measured.accuracy,
        retrains=Retrains(loop=len(log), monthly=request.last_month - 2),
        months=measured.months,
        weeks=measured.weeks,
        drifts=tuple(chronicle.drifts),
        retrain_log=log,
        traffic=tuple(chronicle.traffic),
        seconds=time.monotonic() - started,
    )


def _persistence(
    rivals: Rivals, stage: Stage
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    label = rivals.frame[str(stage.model.spec.data.target)].to_numpy().astype(np.int64)
    return no_change(
        rivals.event_ms.astype("datetime64[ms]"), rivals.label_ms.astype("datetime64[ms]"), label
    )
