"""What a report shows: immutable values, whatever made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

Values: TypeAlias = Mapping[str, Mapping[str, float | None]]
"""Metric to predictor to value; None where it is not defined."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """One that answered every row. ``key`` is ``loop``, or what the loop is held against.

    ``retrains`` is None for one that has nothing to fit; ``seconds`` is what its fits took.
    """

    key: str
    name: str
    short: str
    retrains: int | None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, by its key in ``Values``, and how it is called."""

    key: str
    title: str
    greater_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Stretch:
    """A month or a week: its rows and what each predictor reached on them."""

    name: str
    start: datetime
    end: datetime
    rows: int
    values: Values


@dataclass(frozen=True, slots=True)
class Drift:
    """A drift that was noticed: when (event time), by which detector, in which top features."""

    at: datetime
    detector: str
    signal: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gain:
    """The new model against the champion on the same held-out rows; positive is better."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Retrain:
    """One run: why it started (``at``), and what became of its candidate (``decided``).

    ``outcome`` is a word such as ``promoted``, ``refused``, ``aborted``, ``failed``
    or ``undecided`` (the rows ended first; ``decided`` is None then).
    """

    run_id: str
    at: datetime
    reason: str
    version: str | None
    outcome: str
    gain: Gain | None
    decided: datetime | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """The weights (percent per version, sum 100) that hold from ``at`` on."""

    at: datetime
    weights: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Aim:
    """An aim that was set before the run, beside what came out.

    ``value`` and ``met`` are None when the value is not defined.
    """

    name: str
    target: str
    value: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Prose:
    """What the page says in sentences; ``how_to_read`` is terms with their explanations."""

    how_to_read: tuple[tuple[str, str], ...]
    measured: tuple[str, ...]
    not_measured: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page.

    The first of ``predictors`` is the loop; the first of ``metrics`` is the one that ``share``,
    the loop's share of what the monthly rule won over the frozen model, is of (None: ``no_share``
    says why). ``period`` is what the ``months`` are. ``made_by`` is a command, ``seconds`` its
    wall time.
    """

    title: str
    headline: str
    facts: str
    predictors: tuple[Predictor, ...]
    metrics: tuple[Metric, ...]
    values: Values
    rows: int
    share: float | None
    no_share: str
    share_aim: float | None
    aims: tuple[Aim, ...]
    period: str
    months: tuple[Stretch, ...]
    weeks: tuple[Stretch, ...]
    drifts: tuple[Drift, ...]
    retrains: tuple[Retrain, ...]
    traffic: tuple[Traffic, ...]
    prose: Prose
    made_by: str
    origin: str
    seconds: float

    def value(self, predictor: str, metric: str = "") -> float | None:
        """Return what a predictor reached over all rows, by default in the first metric."""
        return self.values[metric or self.metrics[0].key][predictor]

    def predictor(self, key: str) -> Predictor:
        """Return one predictor."""
        return next(one for one in self.predictors if one.key == key)
