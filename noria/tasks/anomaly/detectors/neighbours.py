"""Distances to the nearest of a sample of rows: k nearest neighbours, and local outlier factor.

Both keep a bounded sample of the rows, so that an answer takes the same time however many there
were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Arrays

KEPT: Final = 5000
"""Rows that are kept at most, and fewer of many columns: ``CELLS`` numbers."""

CELLS: Final = 2_000_000

_BLOCK: Final = 2_000_000
"""Distances that are held at once."""


def nearest(points: Array, rows: Array, count: int) -> tuple[Array, NDArray[np.int64]]:
    """Return the distances from m rows to their nearest points, rising, and which: (m, count).

    Exact: the points are found by the product of the matrices, and measured by their differences.
    """
    found = np.empty((rows.shape[0], count))
    which = np.empty((rows.shape[0], count), np.int64)
    squares = np.einsum("ij,ij->i", points, points)
    step = max(1, _BLOCK // points.shape[0])
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        rough = squares - 2.0 * (part @ points.T)
        places = np.argpartition(rough, count - 1, axis=1)[:, :count]
        exact = np.sqrt(((points[places] - part[:, None, :]) ** 2).sum(axis=2))
        order = np.argsort(exact, axis=1, kind="stable")
        found[start : start + step] = np.take_along_axis(exact, order, axis=1)
        which[start : start + step] = np.take_along_axis(places, order, axis=1)
    return found, which


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The mean distance to the k nearest rows (Angiulli and Pizzuti, PKDD 2002)."""

    kept: Arrays

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``."""
        found, _ = nearest(self.kept["points"], rows, int(self.kept["k"]))
        return np.asarray(found.mean(axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


@dataclass(frozen=True, slots=True, eq=False)
class LocalOutlierFactor:
    """How much thinner rows lie around a row than around its neighbours.

    Breunig, Kriegel, Ng and Sander, SIGMOD 2000.

    ``reach`` is each point's distance to its k-th neighbour, ``density`` its local reachability
    density.
    """

    kept: Arrays

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``: scikit-learn's with its sign turned, 1 is as its neighbours."""
        found, which = nearest(self.kept["points"], rows, int(self.kept["k"]))
        density = density_of(found, self.kept["reach"][which])
        return np.asarray((self.kept["density"][which] / density[:, None]).mean(axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


def density_of(distances: Array, reach: Array) -> Array:
    """Return local reachability densities, (m,), of distances to neighbours with their reaches."""
    # scikit-learn's constant, for rows that are there more than k times.
    return np.asarray(1.0 / (np.maximum(distances, reach).mean(axis=1) + 1e-10))


def fit_neighbours(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> Neighbours:
    """Keep a sample of the rows."""
    del threads
    points = sample(rows, seed)
    k = min(int(params.get("n_neighbors", 20)), len(points))
    return Neighbours({"points": points, "k": np.array(k)})


def fit_lof(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> LocalOutlierFactor:
    """Keep a sample of the rows with their densities."""
    del threads
    points = sample(rows, seed)
    k = max(1, min(int(params.get("n_neighbors", 20)), len(points) - 1))
    distances, which = apart(points, k)
    reach = distances[:, -1]
    density = density_of(distances, reach[which])
    return LocalOutlierFactor(
        {"points": points, "k": np.array(k), "reach": reach, "density": density}
    )


def sample(rows: Array, seed: int) -> Array:
    """Return at most ``KEPT`` of the rows, as float32."""
    most = min(KEPT, max(1, CELLS // max(rows.shape[1], 1)))
    if rows.shape[0] > most:
        rng = np.random.default_rng(seed)
        rows = rows[np.sort(rng.choice(rows.shape[0], most, replace=False))]
    return np.ascontiguousarray(rows, np.float32).astype(np.float64)


def apart(points: Array, count: int) -> tuple[Array, NDArray[np.int64]]:
    """Return the distances from each point to its nearest others, and which: (m, count)."""
    found, which = nearest(points, points, count + 1)
    own = which == np.arange(len(points))[:, None]
    # Where a point is there more than count times it may not be among its own nearest.
    own[~own.any(axis=1), -1] = True
    shape = (len(points), count)
    return found[~own].reshape(shape), which[~own].reshape(shape)
