"""Finding clusters among points: k-means, a Gaussian mixture, HDBSCAN; all scikit-learn's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import DataError, TrainingError
from noria.tasks.choosing import some_of
from noria.tasks.clustering.assign import Centres, Clustering, Density, Mixture, nearest

Array = NDArray[np.float64]

KMEANS: Final = "kmeans"
MIXTURE: Final = "gaussian-mixture"
HDBSCAN: Final = "hdbscan"

MOST_DENSE: Final = 10_000
"""Points that HDBSCAN looks at; of more, so many are drawn by the seed."""

_STARTS: Final = 10
_SHARE: Final = 50
_REACHES: Final = 0.95
"""Share of a cluster's points that lie within its reach of another one of them."""


def find(
    algorithm: str, points: Array, clusters: int, params: Mapping[str, Any], seed: int
) -> Clustering:
    """Return a clustering of points (n, p), the largest cluster first.

    Of one cluster it is the mean, whatever the algorithm; so it is where HDBSCAN finds none.
    Whoever calls it limits the threads, which to do takes longer than most fits.

    Args:
        algorithm: ``kmeans``, ``gaussian-mixture`` or ``hdbscan``.
        points: What is grouped.
        clusters: How many; HDBSCAN takes it for 1 or more, and finds how many there are.
        params: Hyperparameters of the algorithm.
        seed: Of what is drawn. The same arguments give the same clusters.

    Raises:
        DataError: There are fewer different points than clusters.
        TrainingError: The library fails.
    """
    if clusters == 1:
        return _one(points)
    if algorithm != HDBSCAN and (different := len(np.unique(points, axis=0))) < clusters:
        raise DataError(
            f"{clusters} clusters are asked for, and the {len(points)} rows hold {different} "
            "different ones",
            fix="ask for fewer, or give more columns or rows",
        )
    fit = {KMEANS: _means, MIXTURE: _mixture, HDBSCAN: _dense}[algorithm]
    try:
        with warnings.catch_warnings():
            # It says that more turns would settle it: what it has by then is taken.
            warnings.simplefilter("ignore")
            found = fit(points, clusters, params, seed)
    except ValueError as error:
        raise TrainingError(
            f"{algorithm}: {error}", fix="see spec.train.hyperparameters"
        ) from error
    if found.clusters == 0:
        return _one(points)
    sizes = np.bincount(
        (cluster := found.assign(points).cluster)[cluster >= 0], minlength=found.clusters
    )
    return found.reordered(np.argsort(-sizes, kind="stable"))


def _one(points: Array) -> Centres:
    return Centres(points.mean(axis=0, keepdims=True))


def _means(points: Array, clusters: int, params: Mapping[str, Any], seed: int) -> Clustering:
    from sklearn.cluster import KMeans

    settings = {"n_init": _STARTS, **params}
    model = KMeans(clusters, random_state=seed, **settings).fit(points)
    return Centres(model.cluster_centers_.astype(np.float64))


def _mixture(points: Array, clusters: int, params: Mapping[str, Any], seed: int) -> Clustering:
    from sklearn.mixture import GaussianMixture

    rows, width = points.shape
    # With fewer rows than numbers of a covariance, it is of the rows and not of the cluster.
    wide = clusters * width * (width + 1) // 2 > rows
    settings = {"covariance_type": "diag" if wide else "full", "reg_covar": 1e-3, **params}
    model = GaussianMixture(clusters, random_state=seed, **settings).fit(points)
    return Mixture(model.weights_, model.means_, model.precisions_cholesky_)


def _dense(points: Array, clusters: int, params: Mapping[str, Any], seed: int) -> Clustering:
    from sklearn.cluster import HDBSCAN as Dense  # noqa: N811 - a name of ours is the same

    del clusters
    points = drawn(points, MOST_DENSE, seed)
    settings = {"min_cluster_size": max(5, len(points) // _SHARE), **params}
    settings["min_cluster_size"] = min(settings["min_cluster_size"], max(2, len(points) // 2))
    settings.setdefault("min_samples", min(10, settings["min_cluster_size"]))
    labels = Dense(copy=True, **settings).fit(points).labels_.astype(np.int64)
    members, of = points[labels >= 0], labels[labels >= 0]
    reach = np.zeros(int(of.max()) + 1 if of.size else 0)
    for cluster in range(len(reach)):
        own = members[of == cluster]
        _, distance = nearest(own, own, but_itself=True)
        reach[cluster] = np.quantile(distance, _REACHES)
    return Density(members, of, reach)


def drawn(points: Array, most: int, seed: int) -> Array:
    """Return at most so many points, in their order, drawn by the seed."""
    return points[some_of(len(points), most, seed)]
