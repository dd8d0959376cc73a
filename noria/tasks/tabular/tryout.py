"""Members tried on held-out rows: the rounds that each needs, and what it says of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.spec import ModelSpec
from noria.tasks.tabular import stopping
from noria.tasks.tabular.fit import Design, fit
from noria.tasks.tabular.folds import Fold, RowFacts, hold_out
from noria.tasks.tabular.hyperparameters import can_stop
from noria.tasks.tabular.learn import cross_validation, has_classes, widened
from noria.tasks.tabular.members import Recipe, log_losses, losses, on_log
from noria.tasks.tabular.scorers.weighted import said

Array = NDArray[np.float64]

HELD: Final = 0.15
"""Share of the rows that are held out where folds would cost too much."""

FEW_CELLS: Final = 200_000
"""Rows x columns x outputs up to which folds are affordable."""


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """A member, and what its fits on the folds said of their held-out rows, (n, k)."""

    recipe: Recipe
    said: Array


@dataclass(frozen=True, slots=True, eq=False)
class Tryout:
    """Folds of the rows, widened, on which members are tried.

    ``rows`` is how many rows the model is fitted on later.
    """

    sides: tuple[tuple[Design, Design], ...]
    folds: tuple[Fold, ...]
    rows: int
    temporal: bool

    @property
    def classes(self) -> int:
        """Number of classes; 0 for values."""
        return self.sides[0][0].classes

    @property
    def target(self) -> Array:
        """What the held-out rows' target is, (n,)."""
        return np.concatenate([held.target for _, held in self.sides])

    @property
    def weight(self) -> Array | None:
        """Weights of the held-out rows, (n,)."""
        parts = [held.weight for _, held in self.sides if held.weight is not None]
        return np.concatenate(parts) if parts else None

    def cost(self, predicted: Array) -> float:
        """Return the mean log loss, or the mean squared error."""
        each = log_losses if self.classes else losses
        return float(np.average(each(self.target, predicted), weights=self.weight))

    def member(self, algorithm: str, params: Mapping[str, Any], *, log: bool = False) -> Tried:
        """Try an algorithm; its rounds are found unless the hyperparameters say them."""
        parts, rounds = [], []
        searched = can_stop(algorithm, params)
        given = stopping.begun(algorithm, params, self.sides[-1][0]) if searched else dict(params)
        for train, held in self.sides:
            one, other = (on_log(train), on_log(held)) if log else (train, held)
            if searched:
                most = stopping.most_rounds(one)
                found = stopping.stopped(algorithm, given, one, other, most)
                scorer = found.scorer
                rounds.append(found.rounds)
            else:
                scorer = fit(algorithm, given, one)
            parts.append(said(self.classes, float(log), scorer.raw(other.matrix)))
        whole = np.vstack(parts)
        factor = 0.0
        if log:
            weight = np.ones(len(whole)) if self.weight is None else self.weight
            factor = float((weight @ self.target) / (weight @ whole[:, 0]))
            whole = whole * factor
        if searched:
            given["n_estimators"] = stopping.rounds_for(
                rounds, self.folds, self.rows, temporal=self.temporal
            )
        return Tried(Recipe(algorithm, given, 1.0, factor), whole)


def tryout(spec: ModelSpec, design: Design, facts: RowFacts) -> Tryout | None:
    """Return the folds of the spec, or one hold-out of many rows; None where none has all classes.

    Raises:
        DataError: A side of a fold would be empty.
    """
    kind = spec.train.cross_validation.kind
    if is_few(design):
        found = cross_validation(spec, facts)
    else:
        gap_ms = int(spec.data.split.gap.total_seconds() * 1000)
        found = [hold_out(kind, facts, HELD, gap_ms, spec.train.seed)]
    kept = tuple(fold for fold in found if has_classes(design, fold))
    if not kept:
        return None
    sides = tuple(_sides(design, fold) for fold in kept)
    return Tryout(sides, kept, design.matrix.shape[0], kind == "temporal")


def is_few(design: Design) -> bool:
    """Say whether folds of the rows are affordable."""
    return design.matrix.size * design.outputs <= FEW_CELLS


def _sides(design: Design, fold: Fold) -> tuple[Design, Design]:
    train, levels = widened(design.take(fold.train))
    held = design.take(fold.test)
    if levels is None:
        return train, held
    matrix = levels.widen(held.matrix)
    return train, replace(held, matrix=matrix, categories=train.categories)


def weights_of(tried: Sequence[Tried], on: Tryout, most: int) -> tuple[float, ...]:
    """Return a weight for each, by greedy selection with replacement.

    (Caruana et al., 2004, "Ensemble selection from libraries of models".)

    Args:
        tried: Members.
        on: Where they were tried.
        most: Greatest number of members with a weight.
    """
    counts = np.zeros(len(tried), dtype=np.int64)
    total = np.zeros_like(tried[0].said)
    best, kept = np.inf, counts.copy()
    for pick in range(_PICKS):
        full = int((counts > 0).sum()) >= most
        open_ = [place for place in range(len(tried)) if not full or counts[place]]
        costs = [on.cost((total + tried[place].said) / (pick + 1)) for place in open_]
        chosen = open_[int(np.argmin(costs))]
        counts[chosen] += 1
        total = total + tried[chosen].said
        if min(costs) < best * (1.0 - _GAIN):
            best, kept = min(costs), counts.copy()
    return tuple((kept / kept.sum()).tolist())


_PICKS: Final = 20
_GAIN: Final = 1e-4
"""Share of the loss that more picks must save."""
