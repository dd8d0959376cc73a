"""How often an interval holds the truth, by simulation: worlds, cells, counts.

A world draws rows of which the population's metric is known (from a million rows of it).
A cell is a metric, a world and a sample size; it counts how often there is an interval,
and how often the truth lies under or over it. The worlds are not those that the methods
were chosen on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from noria.measures.measuring import compare, measure

Array = np.ndarray
Draw = Callable[[np.random.Generator, int, float], tuple[Array, Array, Array]]
"""(random, rows, share of the positive class) -> truth, predictions of two models."""

_POPULATION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Cell:
    """What ``runs`` samples gave: with an interval, the truth under it, the truth over it."""

    metric: str
    world: str
    rows: int
    rarer: int
    runs: int
    given: int
    under: int
    over: int

    @property
    def coverage(self) -> float:
        """Share of the intervals that hold the truth."""
        return 1.0 - (self.under + self.over) / self.given if self.given else float("nan")


def _expit(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -40, 40)))


def logistic(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """A calibrated model, and one that sees half of its signal."""
    x, z = random.normal(size=(2, rows))
    start = np.log(share / (1 - share))
    p = _expit(start - 0.6 + 1.2 * x + 0.6 * z)
    return (random.random(rows) < p).astype(float), p, _expit(start - 0.4 + 1.2 * x)


def overconfident(
    random: np.random.Generator, rows: int, share: float
) -> tuple[Array, Array, Array]:
    """Heavy-tailed scores, badly calibrated; the other model is the same with noise."""
    y = (random.random(rows) < share).astype(float)
    score = random.standard_t(4, rows) + 2.0 * y
    start = np.log(share / (1 - share))
    return (
        y,
        _expit(start + 2.0 * score - 2),
        _expit(start + 2.0 * score + random.normal(size=rows) - 2),
    )


def tied(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """Scores of five values, as a small tree gives them; the other tree errs in some rows."""
    y = (random.random(rows) < share).astype(float)
    leaf = random.binomial(4, 0.25 + 0.4 * y)
    other = np.where(random.random(rows) < 0.2, random.integers(0, 5, rows), leaf)
    return y, 0.05 + 0.2 * leaf, 0.05 + 0.2 * other


def separated(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """Nearly perfect separation: two in a hundred positives are not seen by either model."""
    y = (random.random(rows) < share).astype(float)
    seen = y * (random.random(rows) > 0.02)
    also = y * (random.random(rows) > 0.04)
    noise = random.random((2, rows))
    return y, 0.1 * noise[0] + 0.85 * seen, 0.1 * noise[1] + 0.85 * also


def constant(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """The same prediction for every row, and another one."""
    y = (random.random(rows) < share).astype(float)
    return y, np.full(rows, share), np.full(rows, min(0.95, 1.5 * share))


def normal(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """Normal errors, correlated between the models."""
    y = 10 + random.normal(size=rows)
    common = random.normal(size=rows)
    return y, y + 0.5 * common, y + 0.4 * common + 0.4 * random.normal(size=rows)


def laplace(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """Exponential tails, and a target of the same kind."""
    y = random.exponential(10, rows)
    common = random.laplace(size=rows)
    return y, y + 3 * common, y + 3 * common + random.laplace(size=rows)


def student(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """Errors of Student's t with four degrees of freedom: squares without a variance."""
    y = random.standard_t(6, rows) * 5
    common = random.standard_t(4, rows)
    return y, y + common, y + common + 0.5 * random.standard_t(4, rows)


def outliers(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """One row in a hundred errs ten times as much."""
    y = random.normal(size=rows) * 5
    common = random.normal(size=rows) * np.where(random.random(rows) < 0.01, 10, 1)
    return y, y + common, y + common + 0.5 * random.normal(size=rows)


def three(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """Three classes, the third with ``share``."""
    codes = random.choice(3, rows, p=[0.6 * (1 - share), 0.4 * (1 - share), share])
    raw = random.normal(size=(2, rows, 3))
    raw[:, np.arange(rows), codes] += 1.5
    raw[1] = 0.8 * raw[0] + 0.6 * raw[1]
    odds = np.exp(raw) * np.array([0.6 * (1 - share), 0.4 * (1 - share), share])
    odds /= odds.sum(axis=2, keepdims=True)
    return codes.astype(float), odds[0], odds[1]


def five(random: np.random.Generator, rows: int, share: float) -> tuple[Array, Array, Array]:
    """Five classes, the last with ``share``, said with too much confidence by both models."""
    priors = np.append(np.array([0.45, 0.25, 0.2, 0.1]) * (1 - share), share)
    codes = random.choice(5, rows, p=priors)
    common, own = random.standard_t(5, (rows, 5)), random.normal(size=(2, rows, 5))
    raw = np.stack([common + 0.4 * own[0], common + 0.8 * own[1]])
    raw[:, np.arange(rows), codes] += 2.0
    odds = np.exp(np.clip(1.3 * raw, -30, 30)) * priors
    odds /= odds.sum(axis=2, keepdims=True)
    return codes.astype(float), odds[0], odds[1]


CLASSES: Final = (logistic, overconfident, tied, separated, constant)
MANY: Final = (three, five)
VALUES: Final = (normal, laplace, student, outliers)


@cache
def _truth(metric: str, world: Draw, share: float, paired: bool) -> float:
    random = np.random.default_rng([7, round(share * 1e6)])
    y, ours, theirs = world(random, _POPULATION, share)
    value = measure(metric, y, ours).value
    assert value is not None
    other = measure(metric, y, theirs).value if paired else 0.0
    assert other is not None
    return value - other


def cell(
    metric: str,
    world: Draw,
    rows: int,
    rarer: int,
    *,
    paired: bool = False,
    runs: int = 1000,
    confidence: float = 0.95,
) -> Cell:
    """Simulate one cell; ``rarer`` is the expected count of the rarer class, 0 for values."""
    share = rarer / rows if rarer else 0.5
    truth = _truth(metric, world, share, paired)
    random = np.random.default_rng([rows, rarer, len(metric), int(paired)])
    given = under = over = 0
    for _ in range(runs):
        y, ours, theirs = world(random, rows, share)
        found = (
            compare(metric, y, ours, theirs, confidence)
            if paired
            else measure(metric, y, ours, confidence)
        )
        if found.low is None or found.high is None:
            continue
        given += 1
        under += truth < found.low - 1e-12
        over += truth > found.high + 1e-12
    return Cell(metric, world.__name__, rows, rarer, runs, given, under, over)
