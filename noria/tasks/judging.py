"""The judge's numbers in one table: which rows judge, which recipes are tried, what is enough.

A *recipe* is an algorithm with its hyperparameters, how much each training row
counts, and how long it learns. It is the recipe that is judged: fitted without a block of
the newest rows, it predicts the block; what is served is the recipe fitted on all rows.
A *fresh* row is one whose event is later than every event that the champion was fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.spec import METRICS, TrainOn

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much each training row counts, and how long the algorithm learns.

    ``half_life`` is a share of the training rows: a row that is older than so many of them
    counts half of the newest. None: all rows count the same. ``rounds`` multiplies the
    algorithm's default rounds of boosting: what more rows can carry, and few noisy ones can't.
    """

    half_life: float | None = None
    rounds: float = 1.0

    @property
    def name(self) -> str:
        """What people call it."""
        said = "all rows alike"
        if self.half_life is not None:
            said = f"newer rows weigh more (half-life {self.half_life:g} of the rows)"
        return said if self.rounds == 1.0 else f"{said}, {self.rounds:g} times the rounds"

    def weights(self, event: NDArray[np.int64] | None, rows: int) -> Weights | None:
        """Return the weights of n rows, of mean 1; None: all weigh the same.

        Args:
            event: (n,) event times; None: the rows are in order of time.
            rows: n.
        """
        if self.half_life is None or not rows:
            return None
        age = np.empty(rows)
        order = np.arange(rows) if event is None else np.argsort(event, kind="stable")
        age[order] = np.arange(rows - 1, -1, -1) / rows
        weights = np.exp2(-age / self.half_life)
        return np.asarray(weights / weights.mean())


RECIPES: Final[Mapping[Recipe, float]] = MappingProxyType(
    {
        Recipe(): 0.5,
        Recipe(0.25): 0.99,
        Recipe(0.1): 0.99,
        Recipe(rounds=0.5): 0.8,
        Recipe(rounds=2.0): 0.8,
    }
)
"""What ``trainOn.kind: auto`` considers, each with the one-sided confidence that it is better than
the champion's before it is taken. Weights bet that the world stays as it is now, rounds don't, and
all rows alike need no proof."""

CONFIDENCE: Final = 0.95
"""One-sided confidence of the bounds by which recipes are compared."""

BLOCKS: Final = 3
"""Most blocks that the judged rows are cut into; the recipe is fitted before each.

Without a champion it is one: there is nothing to decide.
"""

BLOCK_ROWS: Final = 100
"""Rows of a block; with fewer than BLOCKS times so many, all are one block."""

FEW: Final = 0.25
"""Share of the rows, the oldest, that a fit beside learns from, to tell what more rows bring."""

MOST_JUDGED: Final = 1.0 / 3.0
"""Greatest share of all rows that judge a candidate against a champion."""

FLOOR: Final = 0.01
"""``maxDrop: auto`` of a metric whose unit is fixed: the drop that does not matter."""

FLOOR_SHARE: Final = 0.02
"""``maxDrop: auto`` of the other metrics, as a share of the champion's value."""

FIXED_UNIT: Final = frozenset(
    name for name, metric in METRICS.items() if metric.unit in ("share", "score")
)
"""Metrics whose ``auto`` margin is FLOOR."""

WIDEST: Final = 8.0
"""The margin of ``auto`` is never more than so many times the floor."""

ERRORS: Final = 2.5
"""Standard errors that the margin of ``auto`` widens to where rows can't resolve the floor."""

EDGE: Final = -1.0
"""With ``maxDrop: auto`` the estimate of the gain must be over minGain by so many standard errors.

Under 0, what lies so little below may be noise, and a model of more rows is let in.
"""


def recipes_of(train_on: TrainOn, *, champion: str | None, own_rounds: bool) -> tuple[Recipe, ...]:
    """Return the recipes to try, the one to fall back on first.

    Args:
        train_on: The spec's.
        champion: Name of the champion's recipe, on which the next falls back: another must be
            shown better than it. None: there is no champion, and nothing has changed that a
            recipe could answer to.
        own_rounds: Whether the rounds of boosting may be chosen.
    """
    if train_on.kind == "weighted":
        return (Recipe(train_on.half_life),)
    if train_on.kind != "auto" or champion is None:
        return (Recipe(),)
    tried = [recipe for recipe in RECIPES if own_rounds or recipe.rounds == 1.0]
    return tuple(sorted(tried, key=lambda recipe: recipe.name != champion))


def errors_of(gain: float | None, low: float | None) -> float | None:
    """Return a gain in its standard errors; None where they are not known.

    Args:
        gain: The estimate.
        low: Its bound of ``CONFIDENCE``.
    """
    if gain is None or low is None:
        return None
    if gain <= low:
        return math.copysign(math.inf, gain) if gain else 0.0
    return NormalDist().inv_cdf(CONFIDENCE) * gain / (gain - low)


def is_better(recipe: Recipe, gain: float | None, low: float | None) -> bool:
    """Whether a recipe is shown better than the first, as surely as ``RECIPES`` asks.

    Args:
        recipe: One of ``RECIPES``.
        gain: The estimate; positive is better.
        low: Its bound of ``CONFIDENCE``.
    """
    errors = errors_of(gain, low)
    least = NormalDist().inv_cdf(RECIPES.get(recipe, CONFIDENCE))
    return errors is not None and errors > 0.0 and errors >= least


def judged_rows(fresh: int, rows: int) -> int:
    """Return how many of the newest rows judge a candidate against a champion.

    Args:
        fresh: Rows that the champion was not fitted on and are newer than those it was.
        rows: All rows.
    """
    return min(fresh, max(1, int(rows * MOST_JUDGED)))


def block_starts(event: NDArray[np.int64], blocks: int) -> tuple[int, ...]:
    """Return the first event time of each block of judged rows, rising.

    Rows of one moment are in one block.

    Args:
        event: (n,) event times of the judged rows, n > 0.
        blocks: How many, when there are rows enough.
    """
    count = blocks if event.size >= blocks * BLOCK_ROWS else 1
    ordered = np.sort(event)
    starts = [int(ordered[event.size * block // count]) for block in range(count)]
    return tuple(dict.fromkeys(starts))


def known_before(
    event: NDArray[np.int64], known: NDArray[np.int64], start: int, gap_ms: int
) -> NDArray[np.bool_]:
    """Say of each row whether it may be learnt from before ``start``.

    Its event lies before the gap, and its label was known at ``start``. Milliseconds.
    """
    return np.asarray((event < start) & (event < start - gap_ms) & (known <= start))
