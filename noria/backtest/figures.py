"""What a backtest found: immutable values, and their JSON for machines.

The table, the HTML report and ``--json`` all show this, so they can't disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

PREDICTORS: Final = ("loop", "frozen", "monthly", "grow", "no_change")
RETRAINING: Final = ("loop", "monthly", "grow")

LEAST_ROWS: Final = 100
"""Rows without which a period is not counted as the worst one."""

Values = Mapping[str, float | None]
"""One value for each of ``PREDICTORS``; None where the metric is not defined."""


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of the stream: the metric of each predictor on its rows."""

    name: str
    start: datetime
    rows: int
    values: Values


@dataclass(frozen=True, slots=True)
class Alarm:
    """A signal of the monitor, with the version that it is about."""

    at: datetime
    kind: str
    source: str
    detail: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Retrain:
    """One run after the first: why it started, and what became of its candidate.

    ``outcome`` is promoted, refused, aborted, failed or undecided (the stream ended first).
    ``gain`` with ``low`` and ``high`` is the judged difference to the champion, positive is better;
    ``recipe`` says how much each training row counted.
    """

    run_id: str
    at: datetime
    cause: str
    version: str | None
    outcome: str
    reason: str
    decided: datetime | None
    rows: int
    seconds: float
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """The traffic (percent by version) that holds from ``at`` on."""

    at: datetime
    weights: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that a backtest found. ``seconds`` is its wall time.

    ``costs`` are seconds of fits, by predictor. ``share`` is what the loop won over the frozen
    model, of what the monthly rule won; None, with ``no_share`` saying why, where it won nothing.
    ``period`` is what ``months`` are: month, or part where the stream is too short for months.
    """

    model: str
    metric: str
    greater_is_better: bool
    rows: int
    trained_on: int
    start: datetime
    end: datetime
    values: Values
    retrains: Mapping[str, int]
    costs: Mapping[str, float]
    share: float | None
    no_share: str
    period: str
    months: tuple[Period, ...]
    weeks: tuple[Period, ...]
    log: tuple[Retrain, ...]
    alarms: tuple[Alarm, ...]
    splits: tuple[Split, ...]
    alerts: tuple[tuple[datetime, str], ...]
    notes: tuple[str, ...]
    seconds: float

    def count(self, outcome: str) -> int:
        """Return how many retrains ended so."""
        return sum(retrain.outcome == outcome for retrain in self.log)

    def alarms_of(self, kind: str) -> int:
        """Return how many signals of a kind there were."""
        return sum(alarm.kind == kind for alarm in self.alarms)

    def worst_of(self, name: str) -> tuple[float | None, str]:
        """Return a predictor's worst period against the frozen model, and which it was.

        Positive is better. Periods of few rows are not counted: they would show their own noise.
        """
        sign = 1.0 if self.greater_is_better else -1.0
        found = [
            (sign * (mine - frozen), month.name)
            for month in self.months
            if month.rows >= LEAST_ROWS
            and (mine := month.values[name]) is not None
            and (frozen := month.values["frozen"]) is not None
        ]
        return min(found, default=(None, ""))

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, dicts, strings and numbers; times are ISO-8601 in UTC."""
        kinds = sorted({alarm.kind for alarm in self.alarms})
        found: dict[str, Any] = {
            "model": self.model,
            "metric": self.metric,
            "greater_is_better": self.greater_is_better,
            "rows": self.rows,
            "trained_on": self.trained_on,
            "start": self.start,
            "end": self.end,
            "values": dict(self.values),
            "retrains": dict(self.retrains),
            "costs": dict(self.costs),
            "share": self.share,
            "no_share": self.no_share,
            "worst_month": self.worst_of("loop")[0],
            "worst": self.worst_of("loop")[1],
            "period": self.period,
            "seconds": self.seconds,
            "promoted": self.count("promoted"),
            "refused": self.count("refused"),
            "aborted": self.count("aborted"),
            "failed": self.count("failed"),
            "alarms": len(self.alarms),
            "alarms_by_kind": {kind: self.alarms_of(kind) for kind in kinds},
            "log": self.log,
            "signals": self.alarms,
            "traffic": self.splits,
            "alerts": [{"at": at, "text": text} for at, text in self.alerts],
            "months": self.months,
            "weeks": self.weeks,
            "notes": self.notes,
        }
        plain: dict[str, Any] = msgspec.to_builtins(found)
        return plain
