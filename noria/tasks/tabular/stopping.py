"""Rounds of boosting by early stopping on held-out rows.

Many small steps, stopped where held-out rows stop to gain: the rounds fit the data, so that
nobody has to guess them. What is kept is their number; the model is fitted on all rows with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from noria.tasks.tabular.fit import Beside, Design, Stopped, fit_until
from noria.tasks.tabular.folds import Fold
from noria.tasks.tabular.hyperparameters import DEFAULT_ROUNDS, with_constants

MOST_ROUNDS: Final = 4000
PATIENCE: Final = 50
"""Rounds without a gain on the held-out rows, after which it stops."""

MOST_WORK: Final = 600_000_000
"""Columns x (rows + bins) x outputs x rounds of one fit: a second or two of one core."""

_BINS: Final = 8000
"""Of a column, in all leaves of a tree: a round looks at them whatever the rows."""

SLOW: Final = 0.05
QUICK: Final = 0.1
"""The learning rate, and the one where ``MOST_WORK`` leaves too few rounds for it."""

_SLOW_NEEDS: Final = 2500
"""Rounds."""


def most_rounds(design: Design) -> int:
    """Return how many rounds are affordable: ``DEFAULT_ROUNDS`` always are."""
    rows, columns = design.matrix.shape
    work = max(1, columns * (rows + _BINS) * design.outputs)
    return int(np.clip(MOST_WORK // work, DEFAULT_ROUNDS, MOST_ROUNDS))


def begun(algorithm: str, params: Mapping[str, Any], design: Design) -> dict[str, Any]:
    """Return hyperparameters to find rounds with: constants where nobody has set them."""
    rate = SLOW if most_rounds(design) >= _SLOW_NEEDS else QUICK
    return with_constants(algorithm, params, rate)


def stopped(
    algorithm: str, params: Mapping[str, Any], design: Design, beside: Design, most: int
) -> Stopped:
    """Fit until rows beside stop to gain, at most so many rounds; see ``fit_until``."""
    return fit_until(algorithm, {**params, "n_estimators": most}, design, Beside(beside, PATIENCE))


def rounds_for(rounds: Sequence[int], held: Sequence[Fold], rows: int, *, temporal: bool) -> int:
    """Return the rounds for all rows, from those of folds.

    They grow with the square root of the rows: more rows carry more rounds.

    Args:
        rounds: Of each fold.
        held: The folds.
        rows: All rows.
        temporal: Whether folds grow; then the last one, which has most rows, says it alone.
    """
    pairs = list(zip(rounds, held, strict=True))
    if temporal:
        pairs = pairs[-1:]
    grown = [found * (rows / fold.train.size) ** GROWTH for found, fold in pairs]
    return max(1, round(float(np.mean(grown))))


GROWTH: Final = 0.5
