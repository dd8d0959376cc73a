"""What sets each cluster apart, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.clustering import name_of
from noria.tasks.clustering.assign import Assigned
from noria.tasks.clustering.predictor import Profile, Settings, Trait
from noria.tasks.clustering.stability import STABLE, UNSTABLE
from noria.tasks.package import Feature

Array = NDArray[np.float64]

MOST_TRAITS: Final = 5
LEAST_DIFFERENCE: Final = 0.5
"""Standard deviations from which on a mean sets a cluster apart: Cohen's medium effect."""

LEAST_LIFT: Final = 1.5
LEAST_SHARE: Final = 0.2
"""Share of a cluster from which on a category is a trait of it."""

_REACHED: Final = 0.99
_RARE: Final = 0.25
"""A category that is at most so often there as usual is a trait by its absence."""


def profiles_of(
    features: Sequence[Feature],
    matrix: Array,
    found_in: Assigned,
    stability: Array,
) -> tuple[Profile, ...]:
    """Return the profile of each of k clusters of encoded rows (n, d), numbered from 1.

    Args:
        features: Of the matrix.
        matrix: The rows.
        found_in: The clusters that they are in.
        stability: (k,) of each cluster; NaN where it is not known.
    """
    found = []
    for place, stable in enumerate(stability.tolist()):
        own = found_in.cluster == place
        traits = sorted(
            _traits(features, matrix, own) if own.any() else (), key=weight_of, reverse=True
        )
        found.append(
            Profile(
                number=place + 1,
                share=float(own.mean()),
                stability=None if np.isnan(stable) else float(stable),
                traits=tuple(_telling(traits)[:MOST_TRAITS]),
                reach=float(np.quantile(found_in.distance[own], _REACHED)) if own.any() else 0.0,
            )
        )
    return tuple(found)


def _traits(features: Sequence[Feature], matrix: Array, own: NDArray[np.bool_]) -> Iterator[Trait]:
    first = 0
    for feature in features:
        column = matrix[:, first]
        first += feature.size
        known = ~np.isnan(column)
        inside = known & own
        if feature.kind == "vector" or not inside.any():
            continue
        if feature.kind == "categorical":
            yield from _of_categories(feature, column[known], column[inside])
        elif (spread := float(column[known].std())) > 0.0:
            value, usual = float(column[inside].mean()), float(column[known].mean())
            effect = (value - usual) / spread
            if abs(effect) >= LEAST_DIFFERENCE:
                yield Trait(feature.name, value, usual, effect)


def _of_categories(feature: Feature, whole: Array, inside: Array) -> Iterator[Trait]:
    count = len(feature.categories)
    usual = np.bincount(whole.astype(np.int64), minlength=count) / whole.size
    share = np.bincount(inside.astype(np.int64), minlength=count) / inside.size
    for code, name in enumerate(feature.categories):
        if usual[code] == 0.0:
            continue
        lift = float(share[code] / usual[code])
        often = share[code] >= LEAST_SHARE and lift >= LEAST_LIFT
        seldom = usual[code] >= LEAST_SHARE and lift <= _RARE
        if often or seldom:
            yield Trait(feature.name, float(share[code]), float(usual[code]), lift, name)


def _telling(traits: Sequence[Trait]) -> list[Trait]:
    """Leave out what a column lacks where it is told what it has."""
    has = {trait.column for trait in traits if trait.category and trait.effect > 1.0}
    return [one for one in traits if one.effect > 1.0 or not one.category or one.column not in has]


def weight_of(trait: Trait) -> float:
    """Return how much a trait sets a cluster apart, numbers and categories on one scale.

    Of a category it is the difference of the shares in its standard deviations.
    """
    if not trait.category:
        return abs(trait.effect)
    spread = (trait.usual * (1.0 - trait.usual)) ** 0.5
    return abs(trait.value - trait.usual) / spread if spread > 0.0 else 0.0


def notes_of(settings: Settings) -> tuple[str, ...]:
    """Return what a card says of clusters, a sentence each."""
    if len(settings.profiles) == 1:
        return (f"No clusters were found: {settings.why}. All rows are {name_of(1)}.",)
    found = [f"{len(settings.profiles)} clusters: {settings.why}."]
    if settings.matched:
        found.append(settings.matched)
    ordered = sorted(settings.profiles, key=lambda profile: profile.number)
    return (*found, *map(_sentence, ordered))


def _sentence(profile: Profile) -> str:
    traits = "; ".join(map(words_of, profile.traits))
    stable = "" if profile.stability is None else f", {_stability(profile.stability)}"
    said = traits or "no column sets it apart by itself"
    return f"{name_of(profile.number)} ({profile.share:.0%} of the rows{stable}): {said}."


def _stability(value: float) -> str:
    if value < UNSTABLE:
        return f"unstable ({value:.2f}): it may be chance"
    return f"stability {value:.2f}" if value < STABLE else f"stable ({value:.2f})"


def words_of(trait: Trait) -> str:
    """Return a trait in words."""
    if trait.category:
        return (
            f"{trait.column} is {trait.category} in {trait.value:.0%} "
            f"({trait.usual:.0%} of all rows)"
        )
    side = "high" if trait.effect > 0 else "low"
    return (
        f"{trait.column} is {side}, {trait.value:.4g} on average ({trait.usual:.4g} of all rows, "
        f"{trait.effect:+.1f} standard deviations)"
    )
