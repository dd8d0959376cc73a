"""How many clusters there are, and that rows without any are not sold as clusters."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine, make_blobs

from noria.tasks.clustering.choice import Chosen, choose
from noria.tasks.clustering.space import Space
from noria.tasks.package import Feature

COLOURS = ("blue", "green", "red")


def chosen(matrix: np.ndarray, *kinds: str, algorithm: str = "kmeans") -> Chosen:
    features = [
        Feature(f"c{place}", "categorical", categories=COLOURS)
        if kind == "categorical"
        else Feature(f"c{place}", "numeric")
        for place, kind in enumerate(kinds or ["numeric"] * matrix.shape[1])
    ]
    return choose(algorithm, Space.of(features, matrix, None), matrix, 6, {}, 0)


@pytest.mark.parametrize("algorithm", ["kmeans", "gaussian-mixture"])
def test_the_three_wines_are_found(algorithm: str) -> None:
    found = chosen(load_wine().data, algorithm=algorithm)
    assert found.clusters == 3
    assert [one.clusters for one in found.tried] == [2, 3, 4, 5, 6]
    assert found.why.startswith("silhouette 0.28, stability 0.9")


def test_of_the_irises_two_kinds_overlap() -> None:
    assert chosen(load_iris().data).clusters == 2


@pytest.mark.parametrize("algorithm", ["kmeans", "hdbscan"])
def test_four_groups_are_found(algorithm: str) -> None:
    points, _ = make_blobs(400, 3, centers=4, random_state=3)
    assert chosen(points, algorithm=algorithm).clusters == 4


@pytest.mark.parametrize("kind", ["uniform", "normal", "exponential", "lognormal"])
def test_rows_without_clusters_have_none(kind: str) -> None:
    points = getattr(np.random.default_rng(5), kind)(size=(300, 4))
    found = chosen(points)
    assert found.clusters == 1
    assert found.why


def test_rows_along_a_line_have_none() -> None:
    chance = np.random.default_rng(2)
    points = np.outer(chance.normal(size=300), [3.0, 2.0, 1.0]) + chance.normal(size=(300, 3))
    found = chosen(points)
    assert found.clusters == 1
    # Two halves of a line come again in each sample: that alone makes no clusters.
    assert found.tried[0].stability > 0.75
    assert "rows without any have" in found.why


def test_categories_that_go_their_own_ways_are_no_clusters_and_those_that_go_together_are() -> None:
    chance = np.random.default_rng(1)
    alone = chance.integers(0, 3, (300, 4)).astype(float)
    assert chosen(alone, *["categorical"] * 4).clusters == 1
    group = chance.integers(0, 3, 300)
    stray = chance.random((300, 4)) < 0.1
    together = np.where(stray, alone, group[:, None].astype(float))
    assert chosen(together, *["categorical"] * 4).clusters == 3


def test_of_few_rows_nothing_is_said() -> None:
    assert chosen(np.arange(10.0)[:, None]) == Chosen(1, "there are only 10 rows")


def test_hdbscan_that_finds_nothing_twice_finds_nothing() -> None:
    found = chosen(np.random.default_rng(0).normal(size=(300, 6)), algorithm="hdbscan")
    assert found.clusters == 1
    assert "may be chance" in found.why
