"""Which columns are computed from others: found on training rows, kept where folds say it pays.

Candidates come from the importance of a quick fit: arithmetic of the numbers that count most,
statistics of the categories that do, principal components, and doing without what counts less than
noise. Each fold looks for its own on the rows that it fits on, so that what is compared on its
held-out rows is the whole way of finding them. A kind is kept where it pays in every fold, and by
more than one standard error: by as many more as make up for the kinds that are tried (Bonferroni).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noria.tasks.tabular.fit import Design, gains
from noria.tasks.tabular.learn import widened
from noria.tasks.tabular.members import log_losses, losses
from noria.tasks.tabular.plans import ARITHMETIC, LOOKED_UP, Column, Operation, Plan, joined
from noria.tasks.tabular.schema import MAX_CATEGORIES
from noria.tasks.tabular.tryout import NO_PLAN, Tried, Tryout

Array = NDArray[np.float64]
Kinds: TypeAlias = Mapping[str, Plan]
Member: TypeAlias = Callable[[Tryout], Tried]

NUMBERS: Final = 6
"""Numbers that arithmetic is made of: 15 pairs."""

CATEGORIES: Final = 4
BESIDE: Final = 3
"""Numbers whose mean in a category is looked at."""

KEPT: Final = 8
"""Columns of a kind that are kept."""

COMPONENTS: Final = 5
MOST_ROWS: Final = 10_000
"""Rows of a quick fit."""

_VALUES: Final = 10
"""Different values under which a number is more of a category."""

_CHANCE: Final = NormalDist().cdf(-1.0)
"""That a gain is over one standard error where there is none."""

_NOISE: Final = 3
_SIGNS: Final[Mapping[Operation, str]] = {
    "difference": "-",
    "sum": "+",
    "ratio": "/",
    "product": "*",
}


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What pays: the plan for all rows, the tryout with each fold's own, and its first member."""

    plan: Plan
    on: Tryout
    first: Tried


def found(
    design: Design,
    on: Tryout,
    first: Tried,
    member: Member,
    left: Callable[[], float],
    asked: Plan = NO_PLAN,
) -> Found:
    """Return the columns that pay on held-out rows; an empty plan where none do.

    Args:
        design: All training rows, not widened.
        on: Folds of them, widened without a plan.
        first: What the member said there.
        member: Tries it on other columns.
        left: Seconds that may still be spent.
        asked: Columns that are computed whatever they bring.
    """
    best = Found(NO_PLAN, on, first)
    if left() <= 0.0:
        return best
    of_folds = [kinds(design.take(fold.train)) for fold in on.folds]
    names = [name for name in of_folds[0] if all(name in one for one in of_folds)]
    if asked:  # they are components
        names = [name for name in names if name != "components"]
    tried: dict[str, tuple[float, Tryout, Tried]] = {}
    for name in names:
        if left() <= 2.0 * first.seconds:
            break
        other = on.with_plans(design, [joined([asked, one[name]]) for one in of_folds])
        says = member(other)
        gain = pays(on, first, says, len(names))
        if gain > 0.0:
            tried[name] = gain, other, says
    kept: list[str] = []
    for name in sorted(tried, key=lambda one: -tried[one][0]):
        if not kept:
            kept, best = [name], replace(best, on=tried[name][1], first=tried[name][2])
            continue
        if left() <= 2.0 * first.seconds:
            break
        plans = [joined([asked, *(one[other] for other in (*kept, name))]) for one in of_folds]
        both = on.with_plans(design, plans)
        says = member(both)
        if pays(on, best.first, says, len(tried)) > 0.0:
            kept, best = [*kept, name], replace(best, on=both, first=says)
    if not kept:
        return best
    own = kinds(design)
    return replace(best, plan=joined([own[name] for name in kept if name in own]))


def pays(on: Tryout, before: Tried, after: Tried, tries: int) -> float:
    """Return the mean loss that is saved, or 0 where it is not clear of chance.

    Args:
        on: The folds.
        before: What was said without the columns.
        after: What is said with them.
        tries: How many such comparisons are made: one of them is clear of one standard error.
    """
    each = log_losses if on.classes else losses
    saved = each(on.target, before.said) - each(on.target, after.said)
    weight = np.ones(saved.size) if on.weight is None else on.weight
    mean = float(np.average(saved, weights=weight))
    error = float(np.sqrt((weight**2 * (saved - mean) ** 2).sum()) / weight.sum())
    ends = np.cumsum([held.target.size for _, held in on.sides])[:-1]
    of_folds = [float(part.sum()) for part in np.split(weight * saved, ends)]
    clear = NormalDist().inv_cdf(1.0 - _CHANCE / tries) * error
    return mean if mean > clear and min(of_folds) > 0.0 else 0.0


def kinds(design: Design) -> Kinds:
    """Return the plans that may pay, by kind, from rows that they may look at."""
    few = replace(design.take(_evenly(design.target.size)), resampling=())
    dense, _ = widened(few, NO_PLAN)
    coded = {name for name, size in zip(design.names, design.categories, strict=True) if size}
    free = _free(dense)
    counts = gains(_with_noise(dense))
    width = dense.matrix.shape[1]
    noise = float(counts[width:].max())
    order = [j for j in np.argsort(-counts[:width], kind="stable").tolist() if counts[j] > 0.0]
    numeric = [
        free[j] and dense.names[j] not in coded and _is_number(dense, j) for j in range(width)
    ]
    numbers = [j for j in order if numeric[j]]
    categories = [j for j in order if free[j] and 0 < dense.categories[j] <= MAX_CATEGORIES]
    names = dense.names
    candidates = [
        *_arithmetic([names[j] for j in numbers[:NUMBERS]]),
        *_statistics(
            [names[j] for j in categories[:CATEGORIES]],
            [names[j] for j in numbers[:BESIDE]],
            has_target=dense.outputs == 1,
        ),
    ]
    made: dict[str, Plan] = {}
    if candidates:
        whole = joined([Plan(tuple(candidates))])
        wide, _ = widened(few, whole)
        at = {name: place for place, name in enumerate(wide.names)}
        counted = gains(wide)
        for name, operations in (("arithmetic", ARITHMETIC), ("statistics", LOOKED_UP)):
            mine = [(counted[at[one.name]], one) for one in whole.of(*operations)]
            top = sorted(mine, key=lambda one: -one[0])[:KEPT]
            if top and top[0][0] > 0.0:
                made[name] = joined([Plan(tuple(one for gain, one in top if gain > 0.0))])
    many = [names[j] for j in range(width) if numeric[j]]
    if len(many) > COMPONENTS:
        made["components"] = components(many, COMPONENTS)
    useless = tuple(names[j] for j in range(width) if free[j] and counts[j] <= noise)
    if useless and len(useless) < width:
        made["without"] = Plan(without=useless)
    return made


def numbers_of(design: Design) -> list[str]:
    """Return the features that are numbers, vectors too, and held to no direction."""
    held = design.monotone or (0,) * len(design.names)
    facts = zip(design.names, design.categories, held, strict=True)
    places = [
        place for place, (name, size, sign) in enumerate(facts) if name and not size and not sign
    ]
    return list(dict.fromkeys(design.names[j] for j in places if j not in design.corpora))


def components(numbers: Sequence[str], count: int) -> Plan:
    """Return the plan of the first principal components of numbers."""
    columns = tuple(numbers)
    return Plan(
        tuple(
            Column(f"component {place + 1} of {len(columns)} numbers", "component", columns)
            for place in range(count)
        )
    )


def _evenly(rows: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_ROWS)).astype(np.int64))


def _free(design: Design) -> list[bool]:
    """Say of each column whether it is a feature alone, and held to no direction."""
    once = {name for name in design.names if design.names.count(name) == 1 and name}
    held = design.monotone or (0,) * len(design.names)
    return [name in once and not sign for name, sign in zip(design.names, held, strict=True)]


def _is_number(design: Design, place: int) -> bool:
    values = design.matrix[:, place]
    return np.unique(values[~np.isnan(values)]).size >= _VALUES


def _with_noise(design: Design) -> Design:
    """Return rows with columns at their end that mean nothing."""
    noise = np.random.default_rng(design.seed).normal(size=(design.target.size, _NOISE))
    return replace(
        design,
        matrix=np.hstack([design.matrix, noise]),
        categories=(*design.categories, *(0,) * _NOISE),
        monotone=(*design.monotone, *(0,) * _NOISE) if design.monotone else (),
    )


def _arithmetic(numbers: Sequence[str]) -> Iterator[Column]:
    for one, other in itertools.combinations(numbers, 2):
        for operation, sign in _SIGNS.items():
            yield Column(f"{one} {sign} {other}", operation, (one, other))


def _statistics(
    categories: Sequence[str], numbers: Sequence[str], *, has_target: bool
) -> Iterator[Column]:
    for category in categories:
        yield Column(f"rows of {category}", "count", (category,))
        if has_target:
            yield Column(f"mean target of {category}", "target", (category,))
        for number in numbers:
            mean = f"mean {number} of {category}"
            yield Column(mean, "mean", (number, category))
            yield Column(f"{number} - {mean}", "deviation", (number, category))
