"""Silhouettes are scikit-learn's; stability is Hennig's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_blobs
from sklearn.metrics import silhouette_samples

from noria.tasks.clustering import stability
from noria.tasks.clustering.finding import find
from noria.tasks.clustering.stability import jaccard, silhouettes, stabilities

IRIS, KNOWN = load_iris(return_X_y=True)


def test_silhouettes_are_those_of_scikit_learn() -> None:
    np.testing.assert_allclose(
        silhouettes(IRIS, KNOWN.astype(np.int64), 0), silhouette_samples(IRIS, KNOWN), atol=1e-7
    )


def test_noise_a_lone_point_and_one_cluster_lie_no_better_or_worse() -> None:
    cluster = KNOWN.astype(np.int64).copy()
    cluster[:10] = -1
    cluster[20] = 7
    found = silhouettes(IRIS, cluster, 0)
    assert not found[:10].any()
    assert found[20] == 0.0
    kept = cluster >= 0
    np.testing.assert_allclose(
        found[kept], silhouette_samples(IRIS[kept], cluster[kept]), atol=1e-7
    )
    assert not silhouettes(IRIS, np.zeros(150, np.int64), 0).any()


def test_silhouettes_of_many_rows_are_near_those_among_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points, known = make_blobs(900, 3, centers=3, cluster_std=3.0, random_state=0)
    whole = silhouettes(points, known.astype(np.int64), 0)
    monkeypatch.setattr(stability, "MOST_COMPARED", 300)
    few = silhouettes(points, known.astype(np.int64), 0)
    assert few.mean() == pytest.approx(whole.mean(), abs=0.02)
    assert np.corrcoef(few, whole)[0, 1] > 0.99


def test_jaccard_by_hand() -> None:
    one, other = np.array([0, 0, 0, 1, 1, -1]), np.array([0, 0, 1, 1, 1, 1])
    # {0,1,2} to {0,1}: 2 of 3; to {2,3,4,5}: 1 of 6. {3,4} to {0,1}: 0 of 4; to {2,3,4,5}: 2 of 4.
    np.testing.assert_allclose(jaccard(one, other, 2, 2), [[2 / 3, 1 / 6], [0.0, 0.5]])


def again(clusters: int) -> stability.Callable[[np.ndarray, int], object]:
    return lambda points, seed: find("kmeans", points, clusters, {"n_init": 1}, seed)


def test_clusters_that_are_apart_come_again_and_halves_of_one_do_not() -> None:
    points, _ = make_blobs(300, 2, centers=[(0, 0), (9, 0), (0, 9)], random_state=0)
    cluster = find("kmeans", points, 3, {}, 0).assign(points).cluster
    np.testing.assert_allclose(stabilities(points, cluster, again(3), 0), 1.0)
    cluster = find("kmeans", points, 4, {}, 0).assign(points).cluster
    found = np.sort(stabilities(points, cluster, again(4), 0))
    # One of the three is cut in two, here or there: two stay whole, most of the times.
    assert found[0] < stability.STABLE
    assert found[-1] > found[0] + 0.2


def test_a_cluster_without_a_point_has_no_stability() -> None:
    points, _ = make_blobs(60, 2, centers=2, random_state=0)
    cluster = np.where(points[:, 0] > points[:, 0].mean(), 0, 2)
    assert np.isnan(stabilities(points, cluster, again(2), 0)[1])
