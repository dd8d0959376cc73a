"""Metrics equal scikit-learn's; their intervals cover the truth as often as they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sk

from monitoring.measures import METRICS, measure
from noria.errors import InvalidInput

Drawn = tuple[np.ndarray, np.ndarray]


def classified(random: np.random.Generator, rows: int) -> Drawn:
    scores = random.beta(2, 4, rows)
    return scores, (random.random(rows) < scores).astype(float)


def regressed(random: np.random.Generator, rows: int) -> Drawn:
    truth = random.normal(size=rows)
    return truth + random.normal(0, 0.5, rows), truth


SKLEARN: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auc": lambda s, y: sk.roc_auc_score(y, s),
    "average-precision": lambda s, y: sk.average_precision_score(y, s),
    "log-loss": lambda s, y: sk.log_loss(y, s),
    "brier": lambda s, y: sk.brier_score_loss(y, s),
    "calibration-gap": lambda s, y: abs(float(s.mean() - y.mean())),
    "accuracy": lambda s, y: sk.accuracy_score(y, s >= 0.5),
    "f1": lambda s, y: sk.f1_score(y, s >= 0.5),
    "mae": lambda s, y: sk.mean_absolute_error(y, s),
    "rmse": lambda s, y: sk.root_mean_squared_error(y, s),
    "r2": lambda s, y: sk.r2_score(y, s),
}


def draw(metric: str) -> Callable[[np.random.Generator, int], Drawn]:
    return regressed if metric in ("mae", "rmse", "r2") else classified


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_equals_scikit_learn(metric: str) -> None:
    scores, labels = draw(metric)(np.random.default_rng(0), 500)
    # Ties too.
    scores = np.round(scores, 2)
    found = measure(metric, scores, labels)
    assert found.value == pytest.approx(SKLEARN[metric](scores, labels), abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert found.samples == 500


@pytest.mark.parametrize("metric", METRICS)
def test_an_interval_covers_the_truth_as_often_as_it_says(metric: str) -> None:
    random = np.random.default_rng(1)
    truth = measure(metric, *draw(metric)(random, 300_000)).value
    assert truth is not None
    covered = 0
    for _ in range(300):
        found = measure(metric, *draw(metric)(random, 400), confidence=0.9)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.84 <= covered / 300 <= 0.97


def test_rows_that_can_not_tell_have_no_value() -> None:
    one_class = measure("auc", np.array([0.1, 0.2]), np.zeros(2))
    assert (one_class.value, one_class.samples) == (None, 2)
    assert "both classes" in one_class.problem
    assert measure("accuracy", np.empty(0), np.empty(0)).value is None
    unlabelled = measure("brier", np.array([0.5, 0.5]), np.array([np.nan, 1.0]))
    assert unlabelled.samples == 1
    assert measure("r2", np.array([1.0, 2.0]), np.ones(2)).value is None


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    found = measure("log-loss", np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert found.value is not None
    assert np.isfinite(found.value)


def test_an_unknown_metric_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidInput, match="auc"):
        measure("aucc", np.ones(2), np.ones(2))
