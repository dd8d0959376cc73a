"""Outlier detectors that Alibi Detect fits, on request: ``backend: alibi``.

Its licence (BSL 1.1) binds who trains by it. What it has learnt is kept as arrays, and numpy alone
scores, by the formulas of the papers: the server needs no Alibi Detect, and a package no pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Arrays
from noria.tasks.anomaly.detectors.neighbours import LocalOutlierFactor, nearest, sample

_NEIGHBOURS: Final = 20
_COMPONENTS: Final = 0.5
"""Share of the columns that are the components of ``pca``, where nobody says how many."""


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """The squared length of what a row is along ``axes`` (w, r), seen from ``middle`` (w,).

    Axes of all directions, divided by their deviations, make it the Mahalanobis distance; those
    that principal components leave out the squared error of a reconstruction by these (Shyu, Chen,
    Sarinnapakorn and Chang, ICDM Foundations Workshop 2003).
    """

    kept: Arrays

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``."""
        return np.asarray((((rows - self.kept["middle"]) @ self.kept["axes"]) ** 2).sum(axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


@dataclass(frozen=True, slots=True, eq=False)
class Kth:
    """The distance to the k-th nearest row (Ramaswamy, Rastogi and Shim, SIGMOD 2000)."""

    kept: Arrays

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``."""
        found, _ = nearest(self.kept["points"], rows, int(self.kept["k"]))
        return np.asarray(found[:, -1])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


def fit_mahalanobis(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> Projected:
    """Fit ``Mahalanobis`` of Alibi Detect on n rows (n, w)."""
    del seed, threads
    from alibi_detect.od._mahalanobis import Mahalanobis

    model = _fitted(Mahalanobis(device="cpu", **params), rows)
    return Projected({"middle": _array(model.means), "axes": _array(model.pcs)})


def fit_components(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> Projected:
    """Fit ``PCA`` of Alibi Detect on n rows (n, w)."""
    del seed, threads
    from alibi_detect.od._pca import PCA

    most = max(1, rows.shape[1] - 1)
    count = int(params.get("n_components", max(1, int(rows.shape[1] * _COMPONENTS))))
    model = _fitted(PCA(n_components=min(count, most), device="cpu"), rows)
    return Projected({"middle": _array(model.x_ref_mean), "axes": _array(model.pcs)})


def fit_kth(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> Kth:
    """Fit ``KNN`` of Alibi Detect on a sample of the rows."""
    del threads
    from alibi_detect.od._knn import KNN

    points = sample(rows, seed)
    k = min(int(params.get("n_neighbors", _NEIGHBOURS)), len(points))
    model = _fitted(KNN(k=k, device="cpu"), points)
    return Kth({"points": _array(model.x_ref), "k": np.array(k)})


def fit_factor(
    rows: Array, params: Mapping[str, Any], seed: int, threads: int
) -> LocalOutlierFactor:
    """Fit ``LOF`` of Alibi Detect on a sample of the rows."""
    del threads
    from alibi_detect.od._lof import LOF

    points = sample(rows, seed)
    k = max(1, min(int(params.get("n_neighbors", _NEIGHBOURS)), len(points) - 1))
    model = _fitted(LOF(k=k, device="cpu"), points)
    return LocalOutlierFactor(
        {
            "points": _array(model.x_ref),
            "k": np.array(k),
            "reach": _array(model.knn_dists_ref)[:, 0],
            "density": _array(model.ref_inv_avg_reachabilities)[:, 0],
        }
    )


FITS: Final[Mapping[str, Callable[[Array, Mapping[str, Any], int, int], Any]]] = {
    "mahalanobis": fit_mahalanobis,
    "pca": fit_components,
    "knn": fit_kth,
    "lof": fit_factor,
}
BUILDS: Final[Mapping[str, tuple[Callable[[Arrays], Any], tuple[str, ...]]]] = {
    "mahalanobis": (Projected, ("middle", "axes")),
    "pca": (Projected, ("middle", "axes")),
    "knn": (Kth, ("points", "k")),
    "lof": (LocalOutlierFactor, ("points", "k", "reach", "density")),
}
"""How each is built from its arrays, and which it needs."""


def _fitted(detector: Any, rows: Array) -> Any:
    """Return what a detector has learnt."""
    detector.fit(rows.astype(np.float32))
    return detector.backend


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu().numpy(), np.float64)
