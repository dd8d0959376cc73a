"""Detectors score as scikit-learn's own do, and as is written down where it has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf, MinCovDet
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.neural_network import MLPRegressor

from noria.errors import IntegrityError, InvalidInput
from noria.tasks.anomaly import AUTO, MEMBERS
from noria.tasks.anomaly.detectors import Detector, registry
from noria.tasks.arrays import pack, unpack

Array = NDArray[np.float64]
SEED = 3


@pytest.fixture(scope="module")
def tissue() -> tuple[Array, Array]:
    """Standardised measurements of 400 tissues to fit on, and of 169 others."""
    values = load_breast_cancer().data
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    return values[:400], values[400:]


def fitted(algorithm: str, rows: Array, **params: Any) -> Detector:
    """Fit, and build again from what a package would hold."""
    arrays = registry.fit(algorithm, rows, params, SEED, 1).arrays()
    return registry.load(algorithm, unpack(pack(arrays), "detector.npz"))


def test_the_isolation_forest_is_scikit_learns(tissue: tuple[Array, Array]) -> None:
    learnt, others = tissue
    model = IsolationForest(n_estimators=60, max_samples=100, random_state=SEED).fit(learnt)
    found = fitted("isolation-forest", learnt, n_estimators=60, max_samples=100).score(others)
    np.testing.assert_allclose(found, -model.score_samples(others), rtol=1e-12)


def test_a_forest_of_rows_that_are_all_alike_scores_them_alike() -> None:
    found = fitted("isolation-forest", np.ones((50, 2)), n_estimators=5).score(np.ones((3, 2)))
    assert np.isfinite(found).all()
    assert np.ptp(found) == 0.0


@pytest.mark.slow  # importing it takes a minute
@pytest.mark.parametrize(
    ("algorithm", "params"),
    [("mahalanobis", {}), ("pca", {"n_components": 5}), ("knn", {"n_neighbors": 7}),
     ("lof", {"n_neighbors": 7})],
)  # fmt: skip
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # of the libraries that it imports
def test_scores_without_alibi_detect_are_its_own(
    tissue: tuple[Array, Array], algorithm: str, params: dict[str, int]
) -> None:
    from alibi_detect.od._knn import KNN
    from alibi_detect.od._lof import LOF
    from alibi_detect.od._mahalanobis import Mahalanobis
    from alibi_detect.od._pca import PCA

    learnt, others = tissue
    theirs: Any = {
        "mahalanobis": lambda: Mahalanobis(device="cpu"),
        "pca": lambda: PCA(n_components=5, device="cpu"),
        "knn": lambda: KNN(k=7, device="cpu"),
        "lof": lambda: LOF(k=7, device="cpu"),
    }[algorithm]()
    theirs.fit(learnt.astype(np.float32))
    found = fitted(f"alibi/{algorithm}", learnt, **params).score(others)
    np.testing.assert_allclose(found, theirs.score(others.astype(np.float32)), rtol=2e-3)


def test_the_distance_to_neighbours_is_scikit_learns(tissue: tuple[Array, Array]) -> None:
    learnt, others = tissue
    distances, _ = NearestNeighbors(n_neighbors=7).fit(learnt).kneighbors(others)
    found = fitted("knn", learnt, n_neighbors=7).score(others)
    np.testing.assert_allclose(found, distances.mean(axis=1), rtol=1e-6)


def test_the_local_outlier_factor_is_scikit_learns(tissue: tuple[Array, Array]) -> None:
    learnt, others = tissue
    model = LocalOutlierFactor(n_neighbors=15, novelty=True).fit(learnt)
    found = fitted("lof", learnt, n_neighbors=15).score(others)
    np.testing.assert_allclose(found, -model.score_samples(others), rtol=1e-6)


def test_rows_that_are_there_often_have_a_factor_all_the_same() -> None:
    learnt = np.repeat(np.arange(4.0), 30)[:, None]
    model = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(learnt)
    asked = np.array([[0.0], [1.5], [40.0]])
    found = fitted("lof", learnt, n_neighbors=20).score(asked)
    np.testing.assert_allclose(found, -model.score_samples(asked), rtol=1e-6)


def test_the_robust_distance_is_scikit_learns(tissue: tuple[Array, Array]) -> None:
    learnt, others = (part[:, :8] for part in tissue)
    model = MinCovDet(random_state=SEED).fit(learnt)
    found = fitted("mahalanobis", learnt).score(others)
    np.testing.assert_allclose(found**2, model.mahalanobis(others), rtol=1e-9)


def test_with_few_rows_or_columns_made_of_others_the_covariance_is_shrunk(
    tissue: tuple[Array, Array],
) -> None:
    few, others = tissue[0][:60], tissue[1]
    expected = LedoitWolf().fit(few).mahalanobis(others)
    np.testing.assert_allclose(fitted("mahalanobis", few).score(others) ** 2, expected, rtol=1e-9)
    twice = np.column_stack([tissue[0][:, 0], tissue[0][:, 0]])
    assert np.isfinite(fitted("mahalanobis", twice).score(twice)).all()


def test_the_autoencoder_is_scikit_learns_network(tissue: tuple[Array, Array]) -> None:
    learnt, others = (np.clip(part[:, :6], -10, 10) for part in tissue)
    model = MLPRegressor(
        hidden_layer_sizes=(12, 2, 12),
        activation="tanh",
        max_iter=30,
        early_stopping=True,
        random_state=SEED,
    )
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(learnt, learnt)
    errors = np.sqrt(((model.predict(others) - others) ** 2).mean(axis=1))
    found = fitted("autoencoder", learnt, bottleneck=2, max_iter=30).score(others)
    np.testing.assert_allclose(found, errors, rtol=1e-9)


def test_tails_are_shares_of_rows_as_far_out() -> None:
    learnt = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    # Of five values, itself included: 5 lies above all, 2 with two no greater, 25 in the middle.
    found = fitted("ecod", learnt).score(np.array([[5.0, 25.0], [2.0, 10.0]]))
    np.testing.assert_allclose(found, [-np.log(1 / 5 * 3 / 5), -np.log(3 / 5 * 2 / 5)])


def test_auto_is_the_stranger_of_its_members_each_in_its_own_spread(
    tissue: tuple[Array, Array],
) -> None:
    learnt, others = tissue
    both = fitted(AUTO, learnt, n_neighbors=7, n_estimators=60)
    kept = both.arrays()
    params: Mapping[str, dict[str, int]] = {
        "isolation-forest": {"n_estimators": 60},
        "knn": {"n_neighbors": 7},
    }
    assert set(MEMBERS) == set(params)
    scores = [fitted(name, learnt, **params[name]).score(others) for name in MEMBERS]
    expected = (np.column_stack(scores) - kept["centre"]) / kept["unit"]
    np.testing.assert_allclose(both.score(others), expected.max(axis=1))
    # Half of the rows that it was fitted on lie below the middle of each.
    forest = IsolationForest(n_estimators=60, random_state=SEED).fit(learnt)
    np.testing.assert_allclose(kept["centre"][0], np.median(-forest.score_samples(learnt)))


@pytest.mark.parametrize("algorithm", ["isolation-forest", "knn", "lof", "ecod", "mahalanobis"])
def test_a_row_far_from_all_others_scores_most(tissue: tuple[Array, Array], algorithm: str) -> None:
    learnt, others = tissue
    far = np.full((1, learnt.shape[1]), 1e6)
    detector = fitted(algorithm, learnt)
    scores = detector.score(np.vstack([others, far]))
    assert np.isfinite(scores).all()
    assert scores.argmax() == len(others)


def test_few_rows_have_as_many_neighbours_as_there_are() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    assert np.isfinite(fitted("knn", rows, n_neighbors=50).score(rows)).all()
    assert np.isfinite(fitted("lof", rows, n_neighbors=50).score(rows)).all()


def test_a_value_that_the_library_refuses_names_the_hyperparameter(
    tissue: tuple[Array, Array],
) -> None:
    with pytest.raises(InvalidInput, match="n_estimators"):
        fitted("isolation-forest", tissue[0], n_estimators=-1)


def test_arrays_that_lack_one_are_no_detector(tissue: tuple[Array, Array]) -> None:
    arrays = registry.fit("knn", tissue[0], {}, SEED, 1).arrays()
    del arrays["points"]
    with pytest.raises(IntegrityError, match="points"):
        registry.load("knn", arrays)
