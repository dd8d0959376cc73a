"""Prequential metrics of four predictors on the same rows, by week and by month."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noria.demo.figures import PREDICTORS, Period, Scores
from noria.errors import DataError
from noria.measures.measuring import value_of

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Answers:
    """What each predictor said about the same ``n`` rows, each before its label was known.

    ``event_time`` is (n,) datetime64; months and weeks are cut in the zone it is in,
    so give wall-clock time where the events happened. ``label`` is (n,) of 0 and 1; ``loop``,
    ``frozen`` and ``monthly`` are (n,) probabilities of class 1. The no-change
    predictor says that the last known outcome comes again: ``last_outcome`` (n,)
    of 0 and 1 is used for its AUC and accuracy. A 0 or 1 has no useful log-loss,
    so that uses ``no_change`` (n,), the probability it is given.
    """

    event_time: Times
    label: npt.NDArray[Any]
    loop: Floats
    frozen: Floats
    monthly: Floats
    last_outcome: npt.NDArray[Any]
    no_change: Floats

    def __post_init__(self) -> None:
        rows = self.label.shape
        if len(rows) != 1 or rows[0] == 0:
            raise DataError(f"label: expected (n,) with n > 0, got shape {rows}")
        if not np.isin(self.label, (0, 1)).all():
            raise DataError(
                "label: values other than 0 and 1", fix="encode the positive class as 1"
            )
        for name in ("event_time", "loop", "frozen", "monthly", "last_outcome", "no_change"):
            column: npt.NDArray[Any] = getattr(self, name)
            if column.shape != rows:
                raise DataError(f"{name}: shape {column.shape}, but label has {rows}")
            if (
                np.isnat(column).any()
                if column.dtype.kind == "M"
                else not np.isfinite(column).all()
            ):
                raise DataError(f"{name}: holds NaN, infinity or NaT", fix="answer every row")


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics over all rows (pooled, not averaged over periods), by month, and by week."""

    rows: int
    auc: Scores
    log_loss: Scores
    accuracy: Scores
    months: tuple[Period, ...]
    weeks: tuple[Period, ...]


def measure(answers: Answers) -> Measured:
    """Measure the four predictors over all rows, by calendar month and by week from Monday."""
    everything = _period("all", answers, np.arange(len(answers.label)))
    months = answers.event_time.astype("datetime64[M]")
    return Measured(
        rows=everything.rows,
        auc=everything.auc,
        log_loss=everything.log_loss,
        accuracy=everything.accuracy,
        months=_periods(answers, months),
        weeks=_periods(answers, _mondays(answers.event_time)),
    )


def no_change(
    event_time: Times, label_time: Times, label: npt.NDArray[Any], *, before_any: int = 0
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Return the no-change predictor's ``last_outcome`` (n,) and its probability (n,).

    The outcome of a row is the label of the row whose label became known last
    before the event (``before_any`` until one is known). The probability is the
    share of class 1 that followed the same last outcome, among the rows whose
    labels were known by then, with Laplace's rule: it learns from the past only.
    Rows may come in any order.
    """
    order = np.argsort(label_time, kind="stable")
    known_at = label_time[order]
    known = np.searchsorted(known_at, event_time, side="left")  # labels known before the event
    outcome = np.where(known > 0, label[order][known - 1], before_any).astype(np.int8)
    probability = np.empty(len(label), dtype=np.float64)
    for value in (0, 1):
        same = (outcome == value)[order]
        seen = np.concatenate(([0], np.cumsum(same)))
        late = np.concatenate(([0], np.cumsum(same & (label[order] == 1))))
        mine = outcome == value
        probability[mine] = (late[known[mine]] + 1) / (seen[known[mine]] + 2)
    return outcome, probability


def _mondays(times: Times) -> Times:
    days = times.astype("datetime64[D]").astype(np.int64)
    return ((days + 3) // 7 * 7 - 3).astype("datetime64[D]")  # 1970-01-01 was a Thursday


def _periods(answers: Answers, key: Times) -> tuple[Period, ...]:
    order = np.argsort(key, kind="stable")
    names, starts = np.unique(key[order], return_index=True)
    groups = np.split(order, starts[1:])
    return tuple(
        _period(str(name), answers, rows) for name, rows in zip(names, groups, strict=True)
    )


def _period(name: str, answers: Answers, rows: npt.NDArray[np.int64]) -> Period:
    label = answers.label[rows]
    probability = {name: getattr(answers, name)[rows] for name in PREDICTORS}
    said = {**probability, "no_change": answers.last_outcome[rows]}
    return Period(
        name=name,
        rows=len(rows),
        auc=_scores("auc", label, said),
        log_loss=_scores("log-loss", label, probability),
        accuracy=_scores("accuracy", label, said),
    )


def auc(label: npt.NDArray[Any], score: npt.NDArray[Any]) -> float | None:
    """Return the area under the ROC curve of (n,) labels of 0 and 1, None if one is not there."""
    return _value("auc", label, score)


def _scores(metric: str, label: npt.NDArray[Any], scores: Mapping[str, npt.NDArray[Any]]) -> Scores:
    return Scores(**{name: _value(metric, label, scores[name]) for name in PREDICTORS})


def _value(metric: str, label: npt.NDArray[Any], score: npt.NDArray[Any]) -> float | None:
    value = value_of(metric, label.astype(np.float64), score.astype(np.float64))
    return value if math.isfinite(value) else None
