"""Fitted clusterings as plain arrays: which cluster a point is in, and how far from it.

Only numpy is needed. Clusters are counted from 0; -1 is noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError

Array = NDArray[np.float64]
Places = NDArray[np.int64]

_CELLS: Final = 4_000_000
"""Distances that are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Assigned:
    """Of n points the cluster (n,), the distance (n,), and of mixtures the probability (n,)."""

    cluster: Places
    distance: Array
    membership: Array | None = None


class Clustering(Protocol):
    """A fitted clustering of points (n, p)."""

    @property
    def clusters(self) -> int:
        """How many there are."""
        ...

    def assign(self, points: Array) -> Assigned:
        """Return the clusters of points."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a package keeps of it."""
        ...

    def reordered(self, order: Places) -> Clustering:
        """Return it with cluster ``order[i]`` as the i-th."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Centres:
    """The nearest of k centres (k, p), as k-means assigns. The distance is Euclidean."""

    centres: Array

    @property
    def clusters(self) -> int:
        """How many there are."""
        return len(self.centres)

    def assign(self, points: Array) -> Assigned:
        """See ``Clustering``."""
        place, distance = nearest(points, self.centres)
        return Assigned(place, distance)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Clustering``."""
        return {"centres": self.centres}

    def reordered(self, order: Places) -> Centres:
        """See ``Clustering``."""
        return Centres(self.centres[order])


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The likeliest of k normal distributions.

    ``weights`` (k,) and ``means`` (k, p); ``precisions`` are the Cholesky factors of the inverse
    covariances, (k, p, p), or (k, p) of covariances that are diagonal. The distance is
    Mahalanobis's to the mean, the membership the posterior probability of the cluster.
    """

    weights: Array
    means: Array
    precisions: Array

    @property
    def clusters(self) -> int:
        """How many there are."""
        return len(self.means)

    def assign(self, points: Array) -> Assigned:
        """See ``Clustering``."""
        distance, likelihood = self._of(points)
        place = likelihood.argmax(axis=1)
        greatest = likelihood.max(axis=1)
        total = greatest + np.log(np.exp(likelihood - greatest[:, None]).sum(axis=1))
        rows = np.arange(len(points))
        return Assigned(place, distance[rows, place], np.exp(likelihood[rows, place] - total))

    def _of(self, points: Array) -> tuple[Array, Array]:
        """Return distances and weighted log-likelihoods, (n, k) each."""
        width = points.shape[1]
        distance = np.empty((len(points), self.clusters))
        size = np.empty(self.clusters)
        for number, (mean, factor) in enumerate(zip(self.means, self.precisions, strict=True)):
            away = points - mean
            away = away * factor if factor.ndim == 1 else away @ factor
            distance[:, number] = np.sqrt((away**2).sum(axis=1))
            size[number] = np.log(factor if factor.ndim == 1 else np.diag(factor)).sum()
        spread = width * np.log(2 * np.pi) + distance**2
        return distance, np.log(self.weights) + size - 0.5 * spread

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Clustering``."""
        return {"weights": self.weights, "means": self.means, "precisions": self.precisions}

    def reordered(self, order: Places) -> Mixture:
        """See ``Clustering``."""
        return Mixture(self.weights[order], self.means[order], self.precisions[order])


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """The cluster of the nearest of m points that are in one, unless it is out of reach.

    ``members`` (m, p) lie in clusters ``of`` (m,); beyond ``reach`` (k,) of that cluster a point
    is noise. HDBSCAN itself assigns no new points.
    """

    members: Array
    of: Places
    reach: Array

    @property
    def clusters(self) -> int:
        """How many there are."""
        return len(self.reach)

    def assign(self, points: Array) -> Assigned:
        """See ``Clustering``."""
        return self._assigned(*nearest(points, self.members))

    def assign_members(self, points: Array) -> Assigned:
        """Assign points that may be members: none is its own neighbour."""
        return self._assigned(*nearest(points, self.members, but_itself=True))

    def _assigned(self, place: Places, distance: Array) -> Assigned:
        cluster = self.of[place]
        return Assigned(np.where(distance <= self.reach[cluster], cluster, -1), distance)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Clustering``."""
        return {"members": self.members, "of": self.of, "reach": self.reach}

    def reordered(self, order: Places) -> Density:
        """See ``Clustering``."""
        return Density(self.members, np.argsort(order)[self.of], self.reach[order])


def clustering_of(arrays: Mapping[str, np.ndarray]) -> Clustering:
    """Return the clustering of ``Clustering.arrays``.

    Raises:
        IntegrityError: An array is missing.
    """
    try:
        if "precisions" in arrays:
            return Mixture(arrays["weights"], arrays["means"], arrays["precisions"])
        if "members" in arrays:
            return Density(arrays["members"], arrays["of"], arrays["reach"])
        return Centres(arrays["centres"])
    except KeyError as error:
        raise IntegrityError(f"the package lacks {error}", fix="train again") from error


def nearest(points: Array, to: Array, *, but_itself: bool = False) -> tuple[Places, Array]:
    """Return the nearest of ``to`` (m, p) for each point, its place (n,) and distance (n,).

    ``but_itself``: A place at the distance 0 is none, once for each point.
    """
    place = np.empty(len(points), np.int64)
    distance = np.empty(len(points))
    size = (to**2).sum(axis=1)
    step = max(1, _CELLS // max(1, len(to)))
    for first in range(0, len(points), step):
        part = points[first : first + step]
        # Of squares: the squared size of the point itself is the same for all of them.
        squared = size - 2.0 * (part @ to.T)
        found = squared.argmin(axis=1)
        rows = np.arange(len(part))
        away = _between(part, to[found])
        if but_itself and len(to) > 1:
            squared[rows[away == 0.0], found[away == 0.0]] = np.inf
            found = squared.argmin(axis=1)
            away = _between(part, to[found])
        place[first : first + step], distance[first : first + step] = found, away
    return place, distance


def _between(points: Array, to: Array) -> Array:
    return np.asarray(np.sqrt(((points - to) ** 2).sum(axis=1)))
