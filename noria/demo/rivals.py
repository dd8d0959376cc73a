"""The predictors that the loop is held against, on the same rows.

The frozen model is the loop's own first version. The monthly retrain fits the
same recipe on all labels known at each month's first midnight in New York, by
the calendar, with no gate. Both get the features of the point-in-time join.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from noria.demo.stage import Stage
from noria.replay import History
from noria.tasks.candidate import fit_all
from noria.tasks.families import family
from noria.tasks.package import Predictor, load_predictor
from noria.tasks.sources.rows import moments

if TYPE_CHECKING:
    import pandas as pd

ZONE: Final = ZoneInfo("America/New_York")
YEAR: Final = 2013


def month_start(month: int) -> datetime:
    """Return the first midnight of a month of 2013 in New York; month 13 is the year's end."""
    year, month = (YEAR, month) if month <= 12 else (YEAR + 1, 1)
    return datetime(year, month, 1, tzinfo=ZONE)


def local_times(event_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    """Return (n,) datetime64[ms] of New York's wall clock for (n,) epoch milliseconds."""
    import pandas as pd

    stamps = pd.to_datetime(event_ms, unit="ms", utc=True).tz_convert(ZONE)
    return stamps.tz_localize(None).to_numpy().astype("datetime64[ms]")


@dataclass(frozen=True, slots=True)
class Rivals:
    """The replayed rows and those before, with their features, in the order of ``History``."""

    stage: Stage
    frame: pd.DataFrame
    event_ms: npt.NDArray[np.int64]
    label_ms: npt.NDArray[np.int64]

    @classmethod
    def join(cls, stage: Stage, end: datetime) -> Rivals:
        """Join features to every row of the year that is before ``end``, point in time."""
        spec = stage.model.spec
        tabular = family(spec.task.family)
        frame = tabular.features(spec, stage.base, tabular.ingest(spec, stage.base, None))
        event = moments(frame, str(spec.data.event_time))
        order = np.argsort(event, kind="stable")
        order = order[event[order] < end.timestamp() * 1000]
        frame = frame.iloc[order]
        return cls(stage, frame, event[order], moments(frame, str(spec.data.label_time)))

    def score(self, predictor: Predictor, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Return the probability of class 1 for the chosen rows."""
        part = self.frame[rows]
        columns: dict[str, npt.NDArray[Any]] = {}
        for column in predictor.manifest.inputs:
            if column.name in part.columns:
                columns[column.name] = part[column.name].to_numpy()
        event_time = predictor.manifest.event_time
        if event_time:
            columns[event_time] = self.event_ms[rows]
        for feature in self.stage.model.spec.data.features:
            columns.setdefault(feature.name, part[feature.name].to_numpy())
        return predictor.predict(columns)["probability"]

    def monthly(self, last: int, first: int = 2) -> npt.NDArray[np.float64]:
        """Return the scores of a model that is fitted anew at the start of each month.

        Rows before month ``first`` get NaN. In month ``first`` it is the January model.
        """
        spec = self.stage.model.spec
        tabular = family(spec.task.family)
        scores = np.full(len(self.frame), np.nan)
        with tempfile.TemporaryDirectory() as folder:
            params: dict[str, Any] | None = None
            for month in range(first, last + 1):
                start = month_start(month).timestamp() * 1000
                end = month_start(month + 1).timestamp() * 1000
                known = self.frame[self.label_ms <= start]
                if params is None or spec.train.search.kind == "none":
                    params = tabular.tune(spec, known, Path(folder) / "search").params
                package = Path(folder) / f"{month:02}"
                tabular.save(spec, fit_all(tabular, spec, known, params), package)
                rows = (self.event_ms >= start) & (self.event_ms < end)
                scores[rows] = self.score(load_predictor(package), rows)
        return scores

    def frozen(self, package: Path, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Return the scores of the loop's first version for the chosen rows."""
        return self.score(load_predictor(package), rows)

    def agrees(self, history: History) -> bool:
        """Whether the last rows here are the rows of a history, in the same order."""
        return bool(np.array_equal(self.event_ms[-len(history) :], history.event_ms))
