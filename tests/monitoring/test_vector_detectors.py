"""Detectors on vectors: how often they alarm for nothing, and what they see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from monitoring.detectors import DetectorConfig, build_detector, load_detector
from monitoring.detectors.matrix import MatrixEncoder
from monitoring.table import Column, Table
from noria.errors import InvalidInput

ALPHA = 0.05
WIDTH = 16


def vectors(values: np.ndarray, **numeric: np.ndarray) -> Table:
    schema = (
        Column("v", "vector", width=values.shape[1]),
        *(Column(name, "numeric") for name in numeric),
    )
    return Table(schema, {"v": values.astype(np.float32), **numeric}, len(values))


class Embeddings:
    """Points of an uneven cloud away from the origin."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.mix = self.random.normal(size=(WIDTH, WIDTH)) * np.linspace(2.0, 0.1, WIDTH)
        self.turn = np.linalg.qr(self.random.normal(size=(WIDTH, WIDTH)))[0]

    def draw(self, rows: int) -> np.ndarray:
        return self.random.normal(size=(rows, WIDTH)) @ self.mix.T + 0.5


def detector(kind: str, reference: Table, **options: Any) -> Any:
    config = DetectorConfig(
        "d", kind, alpha=ALPHA, window_rows=200, options={"referenceRows": 400, **options}
    )
    return build_detector(config, reference)


@pytest.mark.parametrize("kind", ["mmd", "classifier"])
def test_a_shift_and_a_turn_are_seen_and_nothing_is_not(kind: str) -> None:
    cloud = Embeddings(0)
    fitted = detector(kind, vectors(cloud.draw(400)))
    assert not fitted.score(vectors(cloud.draw(200))).drift
    turned = fitted.score(vectors(cloud.draw(200) @ cloud.turn))
    moved = fitted.score(vectors(cloud.draw(200) + 1.0))
    assert turned.drift
    assert moved.drift
    assert turned.effect > 0.05
    assert turned.features == ()


@pytest.mark.parametrize("kind", ["mmd", "classifier"])
def test_a_change_of_how_a_vector_goes_with_a_number_is_seen(kind: str) -> None:
    cloud = Embeddings(1)

    def rows(count: int, sign: float) -> Table:
        values = cloud.draw(count)
        beside = sign * values[:, 0] / values[:, 0].std() + 0.1 * cloud.random.normal(size=count)
        return vectors(values, size=beside)

    fitted = detector(kind, rows(400, 1.0))
    assert not fitted.score(rows(200, 1.0)).drift
    assert fitted.score(rows(200, -1.0)).drift


@pytest.mark.parametrize("kind", ["mmd", "classifier"])
def test_rows_without_their_vector_are_left_out(kind: str) -> None:
    cloud = Embeddings(2)
    reference, window = cloud.draw(400), cloud.draw(200)
    fitted = detector(kind, vectors(reference))
    lacking = np.concatenate([window[:100], np.full((50, WIDTH), np.nan), window[100:]])
    found, whole = fitted.score(vectors(lacking)), fitted.score(vectors(window))
    assert found == whole
    assert found.samples == 200
    nothing = fitted.score(vectors(np.full((50, WIDTH), np.nan)))
    assert (nothing.p_value, nothing.drift) == (1.0, False)
    # In the reference as well.
    holes = np.concatenate([reference, np.full((100, WIDTH), np.nan)])
    assert detector(kind, vectors(holes)).score(vectors(window)) == whole


def test_a_vector_weighs_as_much_as_a_number_beside_it_and_keeps_its_directions() -> None:
    cloud = Embeddings(3)
    values, beside = cloud.draw(500), cloud.random.normal(5.0, 3.0, 500)
    points = MatrixEncoder(vectors(values, size=beside)).encode(vectors(values, size=beside))
    assert points[:, :WIDTH].var(axis=0).sum() == pytest.approx(1.0, rel=1e-3)
    assert points[:, WIDTH].var() == pytest.approx(1.0, rel=1e-6)
    ratio = points[:, :WIDTH].std(axis=0) / values.std(axis=0)
    assert ratio == pytest.approx(ratio[0], rel=1e-3)


@pytest.mark.parametrize("kind", ["ks", "chi-square", "fisher", "tabular"])
def test_a_test_of_one_column_each_has_no_use_of_vectors(kind: str) -> None:
    with pytest.raises(InvalidInput, match="use kind: mmd or classifier"):
        detector(kind, vectors(Embeddings(4).draw(400)))


@pytest.mark.parametrize("kind", ["mmd", "classifier"])
def test_a_detector_on_vectors_is_read_back(kind: str, tmp_path: Any) -> None:
    cloud = Embeddings(5)
    fitted = detector(kind, vectors(cloud.draw(400)))
    fitted.save(tmp_path)
    window = vectors(cloud.draw(100))
    assert load_detector(tmp_path).score(window) == fitted.score(window)


@pytest.mark.parametrize("rows", [0, 5, 19])
def test_a_classifier_says_nothing_of_a_few_rows(rows: int) -> None:
    cloud = Embeddings(6)
    found = detector("classifier", vectors(cloud.draw(400))).score(vectors(cloud.draw(rows)))
    assert (found.p_value, found.drift) == (1.0, False)
    with pytest.raises(InvalidInput, match="at least 20 reference rows"):
        detector("classifier", vectors(cloud.draw(19)))


def test_a_classifier_on_points_that_are_all_the_same_says_nothing() -> None:
    found = detector("classifier", vectors(np.ones((400, 4)))).score(vectors(np.ones((50, 4))))
    assert found.p_value == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mmd", "classifier"])
def test_false_alarms_keep_to_their_share(kind: str) -> None:
    """Of 400 windows without any change at most 5 % alarm, within chance.

    Each has a reference of its own. At a rate of 5 % more than 34 alarms come less than twice in
    1,000 times.
    """
    alarms = 0
    for seed in range(400):
        cloud = Embeddings(1000 + seed)
        fitted = detector(kind, vectors(cloud.draw(200)), referenceRows=200)
        alarms += fitted.score(vectors(cloud.draw(100))).drift
    assert alarms <= 34
