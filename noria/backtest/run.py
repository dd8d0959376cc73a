"""A backtest from a model and its rows to figures: the loop, its rivals, and what they cost."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from noria.backtest import measure, rivals
from noria.backtest.answers import Answers
from noria.backtest.figures import Figures
from noria.backtest.history import History
from noria.backtest.jobs import Made
from noria.backtest.maker import Maker
from noria.backtest.pool import Pool
from noria.backtest.progress import Progress
from noria.backtest.scores import in_order, truth_of
from noria.backtest.walk import Walk, Walked, moment
from noria.errors import DataError, StoreError, TrainingError
from noria.loop.values import RunRequest, VersionInfo
from noria.spec import SERVING_METRICS, Model

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Fits = dict[str, list[Future[Made]]]

_REFITS: Final = ("monthly", "grow")
_ROOM: Final = 2 << 30


@dataclass(frozen=True, slots=True)
class Result:
    """The figures, and what is behind them.

    ``truth`` (n,) and ``said`` of every predictor, (n,) or (n, classes), are of the streamed
    rows of ``history``; ``versions`` (n,) is who answered in the loop.
    """

    figures: Figures
    history: History
    truth: Floats
    classes: tuple[Any, ...]
    said: dict[str, Floats]
    versions: npt.NDArray[np.int64]

    def predictions(self) -> pd.DataFrame:
        """Return one row per streamed row: when, the label, who answered, what each one said."""
        import pandas as pd

        history = self.history
        part = slice(history.start, None)
        columns: dict[str, Any] = {
            "event_time": pd.to_datetime(history.event_ms[part], unit="ms", utc=True),
            "label_time": pd.to_datetime(history.label_ms[part], unit="ms", utc=True),
            "label": [self.classes[int(code)] for code in self.truth]
            if self.classes
            else self.truth,
            "version": self.versions.astype(str),
        }
        for name, said in self.said.items():
            if said.ndim == 1:
                columns[name] = said
            else:
                columns |= {f"{name}.{c}": said[:, place] for place, c in enumerate(self.classes)}
        return pd.DataFrame(columns)

    def write_predictions(self, path: Path) -> None:
        """Write ``predictions`` as Parquet.

        Raises:
            StoreError: The file can't be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.predictions().to_parquet(path, index=False)
        except OSError as error:
            raise StoreError(
                f"{path} can't be written: {error}", fix="give another file"
            ) from error


@dataclass(frozen=True, slots=True)
class Looped:
    """What the loop did, and what it said: ``said`` of the streamed rows with their ``truth``."""

    first: Made
    frozen: Answers
    walked: Walked
    said: Floats
    truth: Floats
    classes: tuple[Any, ...]
    frame: pd.DataFrame


class Backtest:
    """Runs a model's history through the loop and its rivals.

    Args:
        model: The model.
        history: Its rows.
        pool: Where fits are done.
        cache: The folder of what was fitted before.
    """

    def __init__(self, model: Model, history: History, pool: Pool, cache: Path) -> None:
        self._model, self._left_out = without_servers(model)
        self._history = history
        self._maker = Maker(self._model, history, pool, cache)

    def run(self, progress: Progress) -> Result:
        """Walk beside the rivals, and measure.

        Raises:
            DataError: The first version can't be made, or is not let in.
        """
        began = time.monotonic()
        history = self._history
        first = self._first()
        times = {"monthly": rivals.monthly(history), "grow": rivals.grow(history)}
        fits = {name: [self._maker.fit(at, first.params) for at in times[name]] for name in _REFITS}
        progress.fits([future for found in fits.values() for future in found])
        looped = self.loop(progress)
        progress.walked()
        said = self._said(looped, times, fits)
        figures = self._figures(looped, said, times, fits, began)
        return Result(figures, history, looped.truth, looped.classes, said, looped.walked.versions)

    def loop(self, progress: Progress) -> Looped:
        """Walk alone.

        Raises:
            DataError: The first version can't be made, or is not let in.
        """
        history, spec = self._history, self._model.spec
        first = self._first()
        frame = history.frame.iloc[history.start :].reset_index(drop=True)
        with tempfile.TemporaryDirectory(prefix="noria-backtest-", dir=_quick()) as home:
            walked = Walk(self._model, history, self._ask, Path(home), progress.turned).run()
        frozen = walked.answers.get("1") or Answers(first.package, frame)
        truth, classes = truth_of(spec, history.frame, frozen.manifest.classes)
        said = _empty(history.streamed, classes)
        for version, answers in walked.answers.items():
            _put(said, answers, np.flatnonzero(walked.versions == int(version)), classes)
        return Looped(first, frozen, walked, said, truth[history.start :], classes, frame)

    def _first(self) -> Made:
        """Make the first version; it is the frozen model too."""
        made = self._maker.candidate(int(self._history.event_ms[self._history.start])).result()
        if made.done.problem:
            raise DataError(
                f"the first version can't be trained: {made.done.problem}",
                fix="start later (--start), or correct the model",
            )
        return made

    def _ask(self, request: RunRequest, champion: VersionInfo | None) -> Future[Made]:
        return self._maker.candidate(request.as_of, "" if champion is None else champion.package)

    def _said(self, looped: Looped, times: dict[str, list[int]], fits: Fits) -> dict[str, Floats]:
        """Return what every predictor said of the streamed rows, in one order of classes."""
        history, classes = self._history, looped.classes
        said = {"loop": looped.said}
        for name in ("frozen", *_REFITS):
            said[name] = _empty(history.streamed, classes)
            parts = rivals.segments(history, times.get(name, []))
            _put(said[name], looped.frozen, parts[0], classes)
            for future, rows in zip(fits.get(name, []), parts[1:], strict=True):
                made = future.result()
                if made.done.problem:
                    raise TrainingError(f"the {name} rule's fit failed: {made.done.problem}")
                _put(said[name], Answers(made.package, looped.frame), rows, classes)
        known, _ = truth_of(self._model.spec, history.frame, looped.frozen.manifest.classes)
        said["no_change"] = rivals.no_change(history, len(classes), known)
        return said

    def _figures(
        self,
        looped: Looped,
        said: dict[str, Floats],
        times: dict[str, list[int]],
        fits: Fits,
        began: float,
    ) -> Figures:
        history, metric, walked = self._history, self._model.spec.metrics[0], looped.walked
        event = history.event_ms[history.start :]
        answered = _answered_by_all(said)
        truth = looped.truth[answered]
        kept = {name: values[answered] for name, values in said.items()}
        values = measure.pooled(metric, truth, kept)
        share, no_share = measure.share_of(metric, truth, kept, values)
        period, months, weeks = measure.by_period(metric, event[answered], truth, kept)
        log = measure.retrain_log(walked, metric.name)
        costs = {name: sum(f.result().done.seconds for f in fits[name]) for name in _REFITS}
        still = {"frozen": 0, "no_change": 0}
        return Figures(
            model=self._model.name,
            metric=metric.name,
            greater_is_better=metric.greater_is_better,
            rows=int(answered.sum()),
            trained_on=looped.first.done.rows,
            start=moment(event[0]),
            end=moment(event[-1]),
            values=values,
            retrains={"loop": len(log), **{name: len(times[name]) for name in _REFITS}, **still},
            costs={"loop": sum(retrain.seconds for retrain in log), **costs, **still},
            share=share,
            no_share=no_share,
            period=period,
            months=months,
            weeks=weeks,
            log=log,
            alarms=measure.alarms(walked),
            splits=measure.splits(walked),
            alerts=measure.alerts(walked),
            notes=(*self._left_out, *_notes(period, int((~answered).sum()), walked)),
            seconds=time.monotonic() - began,
        )


def without_servers(model: Model) -> tuple[Model, tuple[str, ...]]:
    """Return the model without canary checks that only a server can measure, and a note of them."""
    canary = model.spec.serving.canary
    kept = tuple(
        check
        for check in canary.analysis
        if check.metric == "error-rate" or check.metric not in SERVING_METRICS
    )
    gone = [check.metric for check in canary.analysis if check not in kept]
    if not gone:
        return model, ()
    serving = model.spec.serving.model_copy(
        update={"canary": canary.model_copy(update={"analysis": kept})}
    )
    spec = model.spec.model_copy(update={"serving": serving})
    said = f"left out of the canary, for no server runs: {', '.join(gone)}"
    return model.model_copy(update={"spec": spec}), (said,)


def _notes(period: str, unanswered: int, walked: Walked) -> list[str]:
    found = []
    if period != "month":
        found.append("the stream spans no three months: the monthly rule fits at each tenth of it")
    if unanswered:
        found.append(f"{unanswered} rows could not be answered and are not counted")
    if walked.foreign_labels:
        found.append(f"{walked.foreign_labels} labels were of classes that the champion lacked")
    return found


def _empty(rows: int, classes: tuple[Any, ...]) -> Floats:
    return np.full((rows, len(classes)) if len(classes) > 2 else (rows,), np.nan)


def _put(
    into: Floats, answers: Answers, rows: npt.NDArray[np.int64], classes: tuple[Any, ...]
) -> None:
    if len(rows):
        into[rows] = in_order(answers.of(rows), answers.manifest.classes, classes)


def _answered_by_all(said: dict[str, Floats]) -> npt.NDArray[np.bool_]:
    whole = [np.isfinite(v) if v.ndim == 1 else np.isfinite(v).all(axis=1) for v in said.values()]
    answered: npt.NDArray[np.bool_] = np.logical_and.reduce(whole)
    return answered


def _quick() -> str | None:
    """Return a folder in memory for files that nobody needs afterwards, where there is one."""
    memory = Path("/dev/shm")  # noqa: S108 - only as the parent of a folder of our own
    with suppress(OSError):
        room = os.statvfs(memory)
        if room.f_bavail * room.f_frsize > _ROOM:
            return str(memory)
    return None
