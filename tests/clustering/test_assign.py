"""New rows get the cluster that scikit-learn's own predict gives them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.datasets import load_wine, make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from noria.errors import DataError, IntegrityError
from noria.tasks.arrays import pack, unpack
from noria.tasks.clustering.assign import (
    Centres,
    Clustering,
    Density,
    Mixture,
    clustering_of,
    nearest,
)
from noria.tasks.clustering.finding import find

WINE = StandardScaler().fit_transform(load_wine().data)
NEW = WINE + np.random.default_rng(0).normal(size=WINE.shape)


def same(one: Clustering, labels: np.ndarray, points: np.ndarray) -> bool:
    """Whether two clusterings are one up to the numbers."""
    return bool(adjusted_rand_score(one.assign(points).cluster, labels) == 1.0)


def test_k_means_assigns_as_scikit_learn_does() -> None:
    model = KMeans(3, n_init=10, random_state=4).fit(WINE)
    ours = find("kmeans", WINE, 3, {}, 4)
    assert same(ours, model.predict(NEW), NEW)
    distance = ours.assign(NEW).distance
    np.testing.assert_allclose(distance, model.transform(NEW).min(axis=1), rtol=1e-9)
    sizes = np.bincount(ours.assign(WINE).cluster)
    assert list(sizes) == sorted(sizes, reverse=True)


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_a_mixture_assigns_as_scikit_learn_does(kind: str) -> None:
    model = GaussianMixture(3, covariance_type=kind, reg_covar=1e-3, random_state=4).fit(WINE)
    ours = find("gaussian-mixture", WINE, 3, {"covariance_type": kind}, 4)
    assert isinstance(ours, Mixture)
    assert same(ours, model.predict(NEW), NEW)
    found, label = ours.assign(NEW), model.predict(NEW)
    np.testing.assert_allclose(found.membership, model.predict_proba(NEW).max(axis=1), rtol=1e-7)
    inverse = model.precisions_ if kind == "full" else [np.diag(one) for one in model.precisions_]
    away = NEW - model.means_[label]
    squared = [row @ inverse[k] @ row for row, k in zip(away, label, strict=True)]
    np.testing.assert_allclose(found.distance, np.sqrt(squared), rtol=1e-7)


def test_hdbscan_finds_shapes_and_gives_new_rows_to_the_nearest_within_reach() -> None:
    points, known = make_moons(800, noise=0.05, random_state=0)
    new, truth = make_moons(400, noise=0.05, random_state=1)
    ours = find("hdbscan", points, 2, {"min_cluster_size": 20}, 0)
    assert isinstance(ours, Density)
    labels = HDBSCAN(min_cluster_size=20, min_samples=10, copy=True).fit(points).labels_
    assert ours.clusters == len(set(labels.tolist()) - {-1}) == 2
    assert adjusted_rand_score(known, labels) > 0.95
    found = ours.assign(new)
    kept = found.cluster >= 0
    assert kept.mean() > 0.9
    assert adjusted_rand_score(truth[kept], found.cluster[kept]) == 1.0
    far = ours.assign(np.array([[9.0, 9.0]]))
    assert far.cluster.tolist() == [-1]
    assert far.distance[0] == pytest.approx(
        np.sqrt(((points - 9.0) ** 2).sum(axis=1)).min(), rel=1e-3
    )


def test_a_row_that_was_fitted_on_is_not_its_own_neighbour() -> None:
    ours = Density(np.array([[0.0], [1.0], [5.0]]), np.zeros(3, np.int64), np.array([2.0]))
    found = ours.assign_members(np.array([[0.0], [5.0], [0.5]]))
    assert found.distance.tolist() == [1.0, 4.0, 0.5]
    assert found.cluster.tolist() == [0, -1, 0]


def test_the_nearest_is_found_however_far_the_points_lie_from_zero() -> None:
    to = np.arange(50.0)[:, None] + 1e6
    place, distance = nearest(to[::-1] + 0.25, to)
    assert place.tolist() == list(range(49, -1, -1))
    np.testing.assert_allclose(distance, 0.25)


@pytest.mark.parametrize("algorithm", ["kmeans", "gaussian-mixture", "hdbscan"])
def test_clusters_come_back_from_their_arrays_in_any_order(algorithm: str) -> None:
    points, _ = make_blobs(300, 2, centers=3, random_state=1)
    found = find(algorithm, points, 3, {}, 0)
    again = clustering_of(unpack(pack(found.arrays()), "x"))
    np.testing.assert_array_equal(again.assign(points).cluster, found.assign(points).cluster)
    order = np.array([2, 0, 1])
    turned = again.reordered(order).assign(points).cluster
    before = found.assign(points).cluster
    np.testing.assert_array_equal(order[turned[before >= 0]], before[before >= 0])


def test_the_same_seed_finds_the_same_clusters() -> None:
    one, other = (find("kmeans", WINE, 4, {}, 3).arrays()["centres"] for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_more_clusters_than_different_rows_are_refused() -> None:
    points = np.repeat([[0.0], [1.0]], 20, axis=0)
    with pytest.raises(DataError, match="3 clusters are asked for, and the 40 rows hold 2 diff"):
        find("kmeans", points, 3, {}, 0)


def test_where_hdbscan_finds_nothing_there_is_one_cluster() -> None:
    points = np.random.default_rng(0).uniform(size=(60, 8))
    found = find("hdbscan", points, 2, {"min_cluster_size": 30}, 0)
    assert isinstance(found, Centres)
    np.testing.assert_allclose(found.centres, points.mean(axis=0, keepdims=True))


def test_arrays_that_lack_one_are_refused() -> None:
    with pytest.raises(IntegrityError, match="lacks 'reach'"):
        clustering_of({"members": np.zeros((1, 1)), "of": np.zeros(1, np.int64)})
