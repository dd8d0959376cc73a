"""Fitting computed columns on the rows that a model is fitted on, and on no others.

What is made of the target is out of fold: a training row reads what rows of other folds say of its
category, as ``levels`` has it. Counts and means of numbers know no target.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from noria.tasks.tabular.derived import Derived
from noria.tasks.tabular.fit import Design
from noria.tasks.tabular.levels import fit_levels, goal_of, of_column
from noria.tasks.tabular.plans import ARITHMETIC, LOOKED_UP, Column, Plan

Array = NDArray[np.float64]


def fit_derived(plan: Plan, design: Design) -> tuple[Derived, Design]:
    """Return what computes a plan's columns, and the training rows with them.

    Args:
        plan: Whose columns are all among the design's names.
        design: Rows without texts, before statistics of many levels.
    """
    at = {name: place for place, name in enumerate(design.names)}
    arithmetic = plan.of(*ARITHMETIC)
    pairs = np.array([[at[name] for name in one.columns] for one in arithmetic], dtype=np.int64)
    lookups = plan.of(*LOOKED_UP)
    tables = [_table(one, design, at) for one in lookups]
    numbers, centre, directions = _components(plan, design)
    kept = [place for place, name in enumerate(design.names) if name not in plan.without]
    derived = Derived(
        plan,
        np.array(kept, dtype=np.int64),
        pairs.reshape(-1, 2).T,
        np.array(
            [[at[one.columns[-1]] for one in lookups], [_number(one, at) for one in lookups]],
            dtype=np.int64,
        ),
        np.cumsum([0, *(table.size for table in tables)], dtype=np.int64),
        np.concatenate([np.zeros(0), *tables]),
        numbers,
        centre,
        directions,
    )
    return derived, _trained(derived, design, at)


def widened_by(derived: Derived, design: Design, matrix: Array | None = None) -> Design:
    """Return rows with the computed columns; ``matrix`` where they are computed already."""
    more = len(derived.plan.made)
    kept = derived.kept.tolist()
    return replace(
        design,
        matrix=derived.widen(design.matrix) if matrix is None else matrix,
        categories=(*(design.categories[place] for place in kept), *(0,) * more),
        names=(*(design.names[place] for place in kept), *(one.name for one in derived.plan.made)),
        monotone=(
            (*(design.monotone[place] for place in kept), *(0,) * more) if design.monotone else ()
        ),
    )


def _trained(derived: Derived, design: Design, at: dict[str, int]) -> Design:
    """Return the training rows: they read the target of other folds' rows only."""
    wide = widened_by(derived, design)
    first = derived.kept.size
    goal = goal_of(design.target, 0)
    for place, one in enumerate(derived.plan.made):
        if one.operation == "target":
            column = at[one.columns[0]]
            size = {column: design.categories[column]}
            _, own = fit_levels(design.matrix, size, goal, design.weight, design.seed)
            wide.matrix[:, first + place] = own[:, column]
    return wide


def _number(column: Column, at: dict[str, int]) -> int:
    return at[column.columns[0]] if len(column.columns) > 1 else -1


def _table(column: Column, design: Design, at: dict[str, int]) -> Array:
    """Return what each category reads, (levels + 1,): the last is of a missing one."""
    place = at[column.columns[-1]]
    codes, levels = design.matrix[:, place], design.categories[place]
    if column.operation == "count":
        none = np.zeros((codes.size, 0))
        return of_column(place, codes, levels, none, design.weight).rows
    if column.operation == "target":
        goal = goal_of(design.target, 0)
        return of_column(place, codes, levels, goal, design.weight).mean[:, 0]
    values = design.matrix[:, at[column.columns[0]]]
    there = ~np.isnan(values) & ~np.isnan(codes)
    if not there.any():
        return np.full(levels + 1, np.nan)
    weight = None if design.weight is None else design.weight[there]
    level = of_column(place, codes[there], levels, values[there][:, None], weight)
    return level.mean[:, 0]


def _components(plan: Plan, design: Design) -> tuple[NDArray[np.int64], Array, Array]:
    """Return the places, means and directions of principal components of standardised numbers.

    (Jolliffe, 2002, "Principal component analysis".) A missing number counts as its mean. A
    component's greatest loading is positive, so that the same rows give the same sign.
    """
    made = plan.of("component")
    if not made:
        return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, 0))
    wanted = set(made[0].columns)
    numbers = np.array([j for j, name in enumerate(design.names) if name in wanted], dtype=np.int64)
    values = design.matrix[:, numbers]
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, values, 0.0).sum(axis=0) / count
    values = np.where(known, values - centre, 0.0)
    spread = np.sqrt((values**2).sum(axis=0) / count)
    scale = np.where(spread > 1e-12 * np.maximum(1.0, np.abs(centre)), spread, np.inf)
    values = values / scale
    _, vectors = np.linalg.eigh(values.T @ values)
    directions = vectors[:, ::-1][:, : len(made)]
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    found = np.zeros((numbers.size, len(made)))
    found[:, : directions.shape[1]] = directions * signs / scale[:, None]
    return numbers, centre, found
