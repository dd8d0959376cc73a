"""Members tried on held-out rows: the rounds that each needs, and what it says of the rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.spec import ModelSpec
from noria.tasks.tabular import stopping
from noria.tasks.tabular.fit import Design, Stopped, fit
from noria.tasks.tabular.folds import Fold, RowFacts, hold_out
from noria.tasks.tabular.hyperparameters import can_stop
from noria.tasks.tabular.learn import cross_validation, has_classes, widened
from noria.tasks.tabular.members import Recipe, log_losses, losses, on_log
from noria.tasks.tabular.plans import Plan
from noria.tasks.tabular.scorers.weighted import said

Array = NDArray[np.float64]

HELD: Final = 0.15
"""Share of the rows that are held out where folds would cost too much."""

NO_PLAN: Final = Plan()
FEW_CELLS: Final = 200_000
"""Rows x columns x outputs up to which folds are affordable."""


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """A member, and what its fits on the folds said of their held-out rows, (n, k)."""

    recipe: Recipe
    said: Array
    seconds: float = 0.0
    """What its fits took, by the tryout's clock."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a fit said of the held-out rows of its fold, and the rounds that were found."""

    said: Array
    rounds: int


@dataclass(frozen=True, slots=True, eq=False)
class Tryout:
    """Folds of the rows, widened, on which members are tried.

    ``rows`` is how many rows the model is fitted on later.
    """

    sides: tuple[tuple[Design, Design], ...]
    folds: tuple[Fold, ...]
    rows: int
    temporal: bool
    clock: Callable[[], float] = time.process_time

    @property
    def classes(self) -> int:
        """Number of classes; 0 for values."""
        return self.sides[0][0].classes

    @property
    def outputs(self) -> int:
        """How many scores a row has."""
        return self.sides[0][0].outputs

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

    def with_plans(self, design: Design, plans: Sequence[Plan]) -> Tryout:
        """Return the same folds of the rows, each with computed columns of its own."""
        both = zip(self.folds, plans, strict=True)
        return replace(self, sides=tuple(_sides(design, fold, plan) for fold, plan in both))

    def member(self, algorithm: str, params: Mapping[str, Any], *, log: bool = False) -> Tried:
        """Try an algorithm; its rounds are found unless the hyperparameters say them."""
        began = self.clock()
        given = self.begun(algorithm, params)
        parts = [self.on(place, algorithm, given, log=log) for place in range(len(self.sides))]
        return self.joined(algorithm, given, parts, self.clock() - began, log=log)

    def begun(self, algorithm: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return hyperparameters, with constants if its rounds are to be found."""
        if not can_stop(algorithm, params):
            return dict(params)
        return stopping.begun(algorithm, params, self.sides[-1][0])

    def on(
        self, place: int, algorithm: str, given: Mapping[str, Any], *, log: bool = False
    ) -> Part:
        """Fit before the fold at a place, and say what it says of the held-out rows."""
        train, held = self.sides[place]
        one, other = (on_log(train), on_log(held)) if log else (train, held)
        if can_stop(algorithm, given):
            most = stopping.most_rounds(one)
            found = stopping.stopped(algorithm, given, one, other, most)
        else:
            found = Stopped(fit(algorithm, given, one), 0)
        return Part(said(self.classes, float(log), found.scorer.raw(other.matrix)), found.rounds)

    def joined(
        self,
        algorithm: str,
        given: dict[str, Any],
        parts: Sequence[Part],
        seconds: float,
        *,
        log: bool = False,
    ) -> Tried:
        """Return the member of fits on all folds."""
        whole = np.vstack([part.said for part in parts])
        given = dict(given)
        factor = 0.0
        if log:
            weight = np.ones(len(whole)) if self.weight is None else self.weight
            factor = float((weight @ self.target) / (weight @ whole[:, 0]))
            whole = whole * factor
        if can_stop(algorithm, given):
            rounds = [part.rounds for part in parts]
            given["n_estimators"] = stopping.rounds_for(
                rounds, self.folds, self.rows, temporal=self.temporal
            )
        return Tried(Recipe(algorithm, given, 1.0, factor), whole, seconds)

    def refit(self, tried: Tried) -> float:
        """Return about how long a fit of a member on all rows takes."""
        seen = sum(fold.train.size for fold in self.folds)
        return tried.seconds * self.rows / seen


def tryout(
    spec: ModelSpec,
    design: Design,
    facts: RowFacts,
    clock: Callable[[], float],
    plan: Plan = NO_PLAN,
) -> Tryout | None:
    """Return the folds of the spec, or one hold-out of many rows; None where none has all classes.

    Args:
        spec: The model.
        design: The rows.
        facts: About them.
        clock: Seconds.
        plan: Columns to compute.

    Raises:
        DataError: A side of a fold would be empty.
    """
    kind = spec.train.cross_validation.kind
    kept = held_out_folds(spec, design, facts)
    if not kept:
        return None
    sides = tuple(_sides(design, fold, plan) for fold in kept)
    return Tryout(sides, kept, design.matrix.shape[0], kind == "temporal", clock)


def held_out_folds(spec: ModelSpec, design: Design, facts: RowFacts) -> tuple[Fold, ...]:
    """Return the folds of the spec, or one hold-out of many rows, that have all classes to fit on.

    Raises:
        DataError: As ``tryout``.
    """
    if is_few(design):
        found = cross_validation(spec, facts)
    else:
        gap_ms = int(spec.data.split.gap.total_seconds() * 1000)
        kind = spec.train.cross_validation.kind
        found = [hold_out(kind, facts, HELD, gap_ms, spec.train.seed)]
    return tuple(fold for fold in found if has_classes(design, fold))


def is_few(design: Design) -> bool:
    """Say whether folds of the rows are affordable."""
    return design.matrix.size * design.outputs <= FEW_CELLS


def _sides(design: Design, fold: Fold, plan: Plan) -> tuple[Design, Design]:
    train, by = widened(design.take(fold.train), plan)
    return train, by.rows(design.take(fold.test), train)
