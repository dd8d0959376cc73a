"""From what each predictor said to the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from noria.backtest.figures import PREDICTORS, Alarm, Period, Retrain, Split, Values
from noria.backtest.rivals import periods
from noria.backtest.walk import Walked, moment
from noria.loop.state import RunKind
from noria.measures.catalog import Metric
from noria.measures.measuring import compare, metric_of, value_of
from noria.tasks.protocol import Evaluation

_ONE_ERROR: Final = 0.6826895
_WEEK_MS: Final = 7 * 24 * 3_600_000

Floats = npt.NDArray[np.float64]
Said = Mapping[str, Floats]


def pooled(metric: Metric, truth: Floats, said: Said) -> dict[str, float | None]:
    """Return the metric of each predictor over all rows that every one of them answered."""
    return {name: _value(metric, truth, said[name]) for name in PREDICTORS}


def by_period(
    metric: Metric, event_ms: npt.NDArray[np.int64], truth: Floats, said: Said
) -> tuple[str, tuple[Period, ...], tuple[Period, ...]]:
    """Return what a period is called, the months (or parts), and the weeks."""
    cut = periods(event_ms)
    months = _cut(metric, event_ms, truth, said, cut.starts, cut.names)
    first = int(event_ms[0])
    weeks = np.arange(first, int(event_ms[-1]) + 1, _WEEK_MS)
    if len(weeks) < len(cut.starts):
        # Of a stream of days, as many points as there would be weeks in a year.
        weeks = np.linspace(first, int(event_ms[-1]) + 1, 53).astype(np.int64)[:-1]
    elif len(weeks) > 160:
        weeks = np.array(cut.starts)
    starts = tuple(weeks.tolist())
    names = tuple(f"{moment(s):%Y-%m-%d %H:%M}".removesuffix(" 00:00") for s in starts)
    return cut.kind, months, _cut(metric, event_ms, truth, said, starts, names)


def _cut(
    metric: Metric,
    event_ms: npt.NDArray[np.int64],
    truth: Floats,
    said: Said,
    starts: tuple[int, ...],
    names: tuple[str, ...],
) -> tuple[Period, ...]:
    cuts = np.searchsorted(event_ms, np.array(starts[1:], np.int64), side="left")
    places = np.split(np.arange(len(event_ms)), cuts)
    return tuple(
        Period(
            name,
            moment(start),
            len(rows),
            {who: _value(metric, truth[rows], said[who][rows]) for who in PREDICTORS},
        )
        for name, start, rows in zip(names, starts, places, strict=True)
        if len(rows)
    )


def share_of(
    metric: str | Metric, truth: Floats, said: Said, values: Values
) -> tuple[float | None, str]:
    """Return the loop's share of the monthly gain; or None, and why there is none."""
    metric = metric_of(metric)
    loop, frozen, monthly = (values[name] for name in ("loop", "frozen", "monthly"))
    if loop is None or frozen is None or monthly is None:
        return None, f"{metric.name} is not defined"
    sign = 1.0 if metric.greater_is_better else -1.0
    gain = sign * (monthly - frozen)
    found = compare(metric, truth, said["monthly"], said["frozen"], _ONE_ERROR)
    error = math.nan if found.low is None or found.high is None else (found.high - found.low) / 2
    if gain <= 0:
        return None, f"the monthly retrain won nothing ({gain:+.4g})"
    if gain <= error:
        return None, (
            f"the monthly retrain won {gain:.2g}, within its standard error of {error:.2g}"
        )
    return sign * (loop - frozen) / gain, ""


def retrain_log(walked: Walked, metric: str) -> tuple[Retrain, ...]:
    """Return each run after the first, with what became of it."""
    runs = walked.runs
    versions = {str(made.folder): version for version, made in runs.made.items()}
    found = []
    for run_id, request in runs.requests.items():
        record = walked.records[run_id]
        if record.kind is RunKind.FIRST:
            continue
        made = runs.result(run_id)
        version = None if made.done.problem else versions.get(str(made.folder))
        outcome = walked.outcomes.get(version or "")
        evaluation = runs.evaluations.get(version or "")
        gain, low, high = _judged(evaluation, metric)
        status = runs.status(run_id)
        found.append(
            Retrain(
                run_id=run_id,
                at=request.as_of,
                cause=request.reason,
                version=version,
                outcome=_ended(status.phase) if outcome is None else outcome.result.value,
                reason=status.detail if outcome is None else outcome.reason,
                decided=None if outcome is None else outcome.at,
                rows=made.done.rows,
                seconds=made.done.seconds,
                gain=gain,
                low=low,
                high=high,
                recipe="" if evaluation is None else evaluation.choice.recipe,
            )
        )
    return tuple(found)


def _ended(phase: str) -> str:
    return "undecided" if phase == "succeeded" else str(phase)


def _judged(
    evaluation: Evaluation | None, metric: str
) -> tuple[float | None, float | None, float | None]:
    for item in () if evaluation is None else evaluation.comparisons:
        if item.metric == metric:
            return item.difference, item.low, item.high
    return None, None, None


def alarms(walked: Walked) -> tuple[Alarm, ...]:
    """Return the monitor's signals, oldest first."""
    found = sorted(walked.signals, key=lambda signal: signal.at)
    return tuple(Alarm(s.at, s.kind.value, s.source, s.detail, s.version) for s in found)


def splits(walked: Walked) -> tuple[Split, ...]:
    """Return the changes of the traffic."""
    return tuple(Split(at, weights) for at, weights in walked.splits)


def alerts(walked: Walked) -> tuple[tuple[datetime, str], ...]:
    """Return what a person was told."""
    return tuple((at, text) for at, text in walked.said if text.startswith("alert "))


def _value(metric: Metric, truth: Floats, said: Floats) -> float | None:
    usable = np.isfinite(said) if said.ndim == 1 else np.isfinite(said).all(axis=1)
    value = value_of(metric, truth[usable], said[usable])
    return value if math.isfinite(value) else None
