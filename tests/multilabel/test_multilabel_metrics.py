"""Metrics of several labels a row against scikit-learn, and how often their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    hamming_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from noria.measures.catalog import METRICS
from noria.measures.measuring import compare, decided, measure, parts_of, value_of

Array = NDArray[np.float64]

OF_LABELS = ("micro-f1", "f1", "auc", "hamming-loss", "subset-accuracy")


def rows_of(seed: int, rows: int) -> tuple[Array, Array]:
    """Return three labels that hang together, and probabilities of them, (n, 3) each."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=(rows, 1)), rng.normal(size=(rows, 3))
    chance = 1 / (1 + np.exp(-(common + own - [0.0, 1.0, 2.0])))
    return (rng.uniform(size=chance.shape) < chance).astype(np.float64), chance


def test_values_are_those_of_scikit_learn() -> None:
    truth, said = rows_of(0, 500)
    called = said >= 0.5
    assert value_of("micro-f1", truth, said) == pytest.approx(
        f1_score(truth, called, average="micro")
    )
    assert value_of("f1", truth, said) == pytest.approx(f1_score(truth, called, average="macro"))
    assert value_of("auc", truth, said) == pytest.approx(roc_auc_score(truth, said))
    assert value_of("average-precision", truth, said) == pytest.approx(
        average_precision_score(truth, said)
    )
    assert value_of("class-precision", truth, said) == pytest.approx(
        precision_score(truth, called, average="macro")
    )
    assert value_of("class-recall", truth, said) == pytest.approx(
        recall_score(truth, called, average="macro")
    )
    assert value_of("hamming-loss", truth, said) == pytest.approx(hamming_loss(truth, called))
    assert value_of("subset-accuracy", truth, said) == pytest.approx(
        (truth == called).all(axis=1).mean()
    )
    assert parts_of("f1", truth, said) == pytest.approx(f1_score(truth, called, average=None))


def test_each_label_is_called_by_a_threshold_of_its_own() -> None:
    truth = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    said = np.array([[0.3, 0.6], [0.1, 0.9], [0.4, 0.8], [0.2, 0.7]])
    assert value_of("micro-f1", truth, said) == pytest.approx(2 * 2 / (4 + 4))
    for metric in ("micro-f1", "f1", "subset-accuracy"):
        called = decided(METRICS[metric], said, (0.25, 0.75))
        assert value_of(metric, truth, called) == 1.0
    called = decided(METRICS["hamming-loss"], said, (0.25, 0.75))
    assert value_of("hamming-loss", truth, called) == 0.0


def test_nothing_called_and_nothing_true_has_no_interval() -> None:
    found = measure("micro-f1", np.zeros((200, 2)), np.zeros((200, 2)))
    assert (found.value, found.low) == (0.0, None)
    assert "positive or called so" in found.problem


def test_a_rare_label_is_said_to_be_too_rare() -> None:
    truth, said = rows_of(1, 300)
    truth[:, 2] = 0.0
    truth[:3, 2] = 1.0
    found = measure("auc", truth, said)
    assert found.low is None
    assert "10 labelled rows of each label's rarer class, has 3" in found.problem
    truth[:, 2] = 0.0
    assert "rarer class, has 0" in measure("auc", truth, said).problem
    assert measure("micro-f1", truth, said).low is not None


@pytest.mark.parametrize("metric", OF_LABELS)
def test_intervals_cover_what_many_rows_give(metric: str) -> None:
    known = value_of(metric, *rows_of(7, 400_000))
    found = [measure(metric, *rows_of(1000 + seed, 300)) for seed in range(400)]
    inside = [one.low <= known <= one.high for one in found if one.low is not None]  # type: ignore[operator]
    assert len(inside) == 400
    # 95 % of 400 within four standard errors; exact and widened intervals may cover more.
    assert np.mean(inside) >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400)
    widths = [one.high - one.low for one in found]  # type: ignore[operator]
    spread = np.std([one.value for one in found])
    assert np.mean(widths) <= 2 * 1.96 * spread * 1.5


@pytest.mark.parametrize("metric", OF_LABELS)
def test_a_difference_of_none_is_seldom_shown(metric: str) -> None:
    wrong = 0
    for seed in range(200):
        truth, said = rows_of(5000 + seed, 300)
        noise = np.random.default_rng(seed).normal(0, 0.3, (2, *said.shape))
        gain = compare(metric, truth, *(1 / (1 + np.exp(-(np.log(said / (1 - said)) + noise)))))
        assert gain.low is not None
        assert gain.high is not None
        wrong += not gain.low <= 0 <= gain.high
    assert wrong <= 200 * 0.05 + 4 * np.sqrt(200 * 0.05 * 0.95)
