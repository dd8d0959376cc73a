"""How many clusters there are, or that there are none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.clustering.finding import HDBSCAN, KMEANS, MOST_DENSE, drawn, find
from noria.tasks.clustering.space import Space
from noria.tasks.clustering.stability import STABLE, UNSTABLE, silhouettes, stabilities

Array = NDArray[np.float64]

MOST_CHOSEN_BY: Final = 2_000
"""Rows that the number is chosen by; of more, so many are drawn by the seed."""

LEAST: Final = 20
"""Rows under which nothing is looked for."""

_FEWEST: Final = 5
"""Rows that a cluster has on average at least."""

_SHARES: Final = (0.01, 0.02, 0.05, 0.1)
"""Shares of the rows that a cluster of HDBSCAN has at least, where nobody says how many."""

_NULLS: Final = 10
_BEYOND: Final = 4.0
"""Standard deviations that a silhouette lies above those of rows without clusters. Chosen on
uniform and normal rows of 2, 5 and 10 columns, and on the wines and tumours of scikit-learn."""

_DOUBTED: Final = 3
"""Numbers that are held against rows without clusters, the best first."""

_LEAST_DEVIATION: Final = 0.003
_FEW_VALUES: Final = 10
"""Different values up to which a column of numbers is drawn from them, as categories are."""

_MOST_SKEWED: Final = 100
"""Columns up to which rows without clusters may be skewed."""

_STARTS: Final = {"n_init": 3}
"""Of the fits that are compared; what is served has more."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A number of clusters: the mean silhouette, and the mean stability of the clusters.

    ``params`` are the hyperparameters that were tried with it.
    """

    clusters: int
    silhouette: float
    stability: float
    params: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The number of clusters, 1 where none were found, why, and what was tried."""

    clusters: int
    why: str
    tried: tuple[Tried, ...] = ()
    params: Mapping[str, int] = field(default_factory=dict)


def choose(
    algorithm: str,
    space: Space,
    matrix: Array,
    at_most: int,
    params: Mapping[str, Any],
    seed: int,
) -> Chosen:
    """Return how many clusters encoded rows (n, d) have.

    Of the numbers whose clusters are stable the one with the greatest mean silhouette; where none
    has stable ones, of those that are not unstable (``noria.tasks.clustering.stability``). It
    stands if its silhouette is clearly greater than that of rows without clusters, or the next best
    is tried. Those are normal ones of the same covariance (as in SigClust: Liu, Hayes, Nobel and
    Marron, Journal of the American Statistical Association 103, 2008), as skewed as the columns are
    (Yeo and Johnson, Biometrika 87, 2000), and uniform along the principal components (as in the
    gap statistic: Tibshirani, Walther and Hastie, Journal of the Royal Statistical Society B 63,
    2001); categories are drawn one by one. HDBSCAN finds its number itself, for several least
    sizes of a cluster; of those it is chosen, and stands.
    """
    whole = len(matrix)
    matrix = drawn(matrix, MOST_CHOSEN_BY, seed)
    points = space.points(matrix)
    if len(points) < LEAST:
        return Chosen(1, f"there are only {len(points)} rows")
    if algorithm == KMEANS and "n_init" not in params:
        params = {**params, **_STARTS}
    if algorithm == HDBSCAN:
        tried = tuple(_of_sizes(points, min(whole, MOST_DENSE), params, seed))
    else:
        most = min(at_most, len(np.unique(points, axis=0)) - 1, len(points) // _FEWEST)
        tried = tuple(
            _tried(algorithm, points, number, params, seed) for number in range(2, most + 1)
        )
    sound = [one for one in tried if one.stability >= STABLE] or [
        one for one in tried if one.stability >= UNSTABLE
    ]
    if not sound:
        return Chosen(1, _unstable(tried), tried)
    if algorithm == HDBSCAN:  # its clusters may have any shape, of which silhouettes say little
        best = max(sound, key=lambda one: one.silhouette)
        return Chosen(best.clusters, _stands(best), tried, best.params)
    without, doubts = _without(space, matrix, seed), []
    for one in sorted(sound, key=lambda one: -one.silhouette)[:_DOUBTED]:
        doubt = next(_doubts(one, without, seed), "")
        if not doubt:
            return Chosen(one.clusters, _stands(one), tried)
        doubts.append(doubt)
    return Chosen(1, doubts[0], tried)


def _of_sizes(points: Array, rows: int, params: Mapping[str, Any], seed: int) -> Iterator[Tried]:
    """Yield what HDBSCAN finds for each share of the rows that a cluster has at least."""
    if "min_cluster_size" in params:
        yield _tried(HDBSCAN, points, 2, params, seed)
        return
    for share in _SHARES:
        own = {"min_cluster_size": max(5, round(share * len(points)))}
        found = _tried(HDBSCAN, points, 2, {**params, **own}, seed)
        # The fit is of more rows than those that it is chosen by.
        yield replace(found, params={"min_cluster_size": max(5, round(share * rows))})


def _doubts(one: Tried, without: Mapping[str, Sequence[Array]], seed: int) -> Iterator[str]:
    """Yield for each kind of rows without clusters that they look no worse, if they do."""
    for name, kind in without.items():
        found = [_silhouette(rows, one.clusters, seed) for rows in kind]
        mean, deviation = float(np.mean(found)), float(np.std(found))
        if one.silhouette < mean + _BEYOND * max(deviation, _LEAST_DEVIATION):
            yield (
                f"{one.clusters} clusters have a silhouette of {one.silhouette:.2f}, and those of "
                f"{name} rows without any have {mean:.2f}"
            )


def _stands(one: Tried) -> str:
    return f"silhouette {one.silhouette:.2f}, stability {one.stability:.2f}"


def _unstable(tried: Sequence[Tried]) -> str:
    best = max((one.stability for one in tried), default=0.0)
    return (
        f"no clusters come again in other samples of the rows: their stability is at most "
        f"{best:.2f}, and under {UNSTABLE:g} they may be chance"
    )


def _tried(
    algorithm: str, points: Array, clusters: int, params: Mapping[str, Any], seed: int
) -> Tried:
    found = find(algorithm, points, clusters, params, seed)
    cluster = found.assign(points).cluster
    stable = stabilities(
        points, cluster, lambda rows, by: find(algorithm, rows, clusters, params, by), seed
    )
    # A mixture may leave a component without a row: that is no cluster.
    mean = float(np.nan_to_num(stable).mean()) if found.clusters > 1 else 0.0
    return Tried(found.clusters, float(silhouettes(points, cluster, seed).mean()), mean)


def _silhouette(points: Array, clusters: int, seed: int) -> float:
    """Return the silhouette that k-means reaches, which no other one's clusters exceed by much."""
    found = find(KMEANS, points, clusters, _STARTS, seed)
    return float(silhouettes(points, found.assign(points).cluster, seed).mean())


def _without(space: Space, matrix: Array, seed: int) -> dict[str, list[Array]]:
    """Return points of rows that are like these, but for clusters."""
    wide = Space(space.features, space.mean, space.scale)
    points = wide.points(matrix)
    numbers = np.flatnonzero(_are_numbers(wide, matrix))
    chance = np.random.default_rng(seed)
    away = points[:, numbers]
    kinds: dict[str, Callable[[], Array]] = {}
    if numbers.size:
        axes = np.linalg.svd(away, full_matrices=False)[2]
        along = away @ axes.T
        low, high, spread = along.min(axis=0), along.max(axis=0), along.std(axis=0)
        kinds["uniform"] = lambda: chance.uniform(low, high, along.shape) @ axes
        kinds["normal"] = lambda: chance.normal(0.0, spread, along.shape) @ axes
        if numbers.size <= _MOST_SKEWED:
            kinds["skewed"] = _skewed(away, chance)
    else:
        kinds["independent"] = lambda: away
    made: dict[str, list[Array]] = {kind: [] for kind in kinds}
    for _ in range(_NULLS):
        alone = _drawn_alone(wide, matrix, chance)
        for kind, draw in kinds.items():
            found = alone.copy()
            found[:, numbers] = draw()
            made[kind].append(found if space.components is None else found @ space.components.T)
    return made


def _skewed(away: Array, chance: np.random.Generator) -> Callable[[], Array]:
    """Return what draws rows that a power transform of each column makes normal."""
    from sklearn.preprocessing import PowerTransformer

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        power = PowerTransformer().fit(away)
        normal = power.transform(away)
    spread = np.linalg.svd(normal, full_matrices=False)
    along, axes = spread[1] / np.sqrt(len(away)), spread[2]
    low, high = away.min(axis=0), away.max(axis=0)

    def draw() -> Array:
        new = chance.normal(0.0, along, (len(away), along.size)) @ axes
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = power.inverse_transform(new)
        # Beyond the transform's range there is nothing: as far as the rows go.
        return np.asarray(
            np.clip(np.where(np.isnan(found), np.sign(new) * np.inf, found), low, high)
        )

    return draw


def _are_numbers(space: Space, matrix: Array) -> NDArray[np.bool_]:
    """Say of each wide column whether it is of numbers that differ, (w,)."""
    is_number: list[bool] = []
    first = 0
    for feature in space.features:
        width = max(1, len(feature.categories)) if feature.kind == "categorical" else feature.size
        part = matrix[:, first : first + feature.size]
        many = feature.kind == "vector" or (
            feature.kind == "numeric" and np.unique(part[~np.isnan(part)]).size > _FEW_VALUES
        )
        is_number += [many] * width
        first += feature.size
    return np.array(is_number)


def _drawn_alone(space: Space, matrix: Array, chance: np.random.Generator) -> Array:
    """Return the points of rows whose columns are drawn one by one, each from its own values."""
    columns = [column[chance.permutation(len(column))] for column in matrix.T]
    return space.points(np.column_stack(columns))
