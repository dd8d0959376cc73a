"""Measures of forecasts, by hand and by what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noria.errors import InvalidInput
from noria.tasks.forecasting import accuracy
from noria.tasks.forecasting.intervals import scale
from noria.tasks.forecasting.methods import forecast

NAN = math.nan
TRUTH = np.array([[1.0, 2.0, NAN], [4.0, -4.0, 0.0]])
SAID = np.array([[2.0, 2.0, 9.0], [4.0, 0.0, 0.0]])
SCALE = np.array([0.5, 2.0])


def test_measures_by_hand() -> None:
    assert accuracy.mae(TRUTH, SAID).tolist() == [0.5, 4.0 / 3.0]
    assert accuracy.rmse(TRUTH, SAID).tolist() == [math.sqrt(0.5), math.sqrt(16.0 / 3.0)]
    assert accuracy.mase(TRUTH, SAID, SCALE).tolist() == [1.0, 2.0 / 3.0]
    assert accuracy.rmsse(TRUTH, SAID, SCALE).tolist() == [
        math.sqrt(0.5) / 0.5,
        math.sqrt(16.0 / 3.0) / 2.0,
    ]
    # |1 - 2| / 3 and |-4 - 0| / 4; two zeros are no error.
    assert accuracy.smape(TRUTH, SAID) == pytest.approx([100.0 / 3.0, 200.0 / 3.0])


def test_pinball_by_hand() -> None:
    assert accuracy.pinball(TRUTH, SAID, 0.9) == pytest.approx([0.05, 0.1 * 4.0 / 3.0])
    assert accuracy.pinball(SAID, TRUTH[:, [0, 1, 1]], 0.9)[0] == pytest.approx((0.9 + 0 + 6.3) / 3)
    half = accuracy.pinball(TRUTH, SAID, 0.5)
    assert half == pytest.approx(accuracy.mae(TRUTH, SAID) / 2.0)


def test_weighted_quantile_loss_by_hand() -> None:
    found = accuracy.weighted_quantile_loss(TRUTH, {0.5: SAID})
    assert found == pytest.approx([0.5 / 1.5, (4.0 / 3.0) / (8.0 / 3.0)])
    zeros = np.zeros((2, 2))
    said = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert accuracy.weighted_quantile_loss(zeros, {0.5: said}).tolist() == [0.0, math.inf]


def test_the_true_quantile_has_the_lowest_pinball_loss() -> None:
    truth = np.random.default_rng(0).normal(size=(1, 50_000))
    losses = {
        said: accuracy.pinball(truth, np.full_like(truth, said), 0.9)[0]
        for said in (1.0, 1.28, 1.6)
    }
    assert min(losses, key=losses.__getitem__) == 1.28


def test_coverage_by_hand() -> None:
    low, high = SAID - 1.0, SAID + 1.0
    assert accuracy.coverage(TRUTH, low, high).tolist() == [1.0, 2.0 / 3.0]


def test_nothing_known_is_nan() -> None:
    truth = np.full((1, 2), NAN)
    said = np.zeros((1, 2))
    for found in (
        accuracy.mae(truth, said),
        accuracy.rmse(truth, said),
        accuracy.smape(truth, said),
        accuracy.coverage(truth, said, said),
        accuracy.weighted_quantile_loss(truth, {0.5: said}),
    ):
        assert np.isnan(found).all()


def test_the_naive_on_a_random_walk_has_a_mase_of_one() -> None:
    walks = np.cumsum(np.random.default_rng(0).normal(size=(3000, 101)), axis=1)
    said = forecast("seasonal-naive", walks[:, :100], 1, 1)
    found = accuracy.mase(walks[:, 100:], said, scale(walks[:, :100], 1))
    # The error of a step and the scale are of the same differences: 3,000 have an error of 0.014.
    assert found.mean() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaled_measures_have_no_unit(factor: float) -> None:
    truth, said = np.abs(TRUTH) + 1.0, SAID + 1.0
    for one, other in (
        (accuracy.smape(truth, said), accuracy.smape(truth * factor, said * factor)),
        (
            accuracy.mase(truth, said, SCALE),
            accuracy.mase(truth * factor, said * factor, SCALE * factor),
        ),
        (
            accuracy.rmsse(truth, said, SCALE),
            accuracy.rmsse(truth * factor, said * factor, SCALE * factor),
        ),
        (
            accuracy.weighted_quantile_loss(truth, {0.1: said}),
            accuracy.weighted_quantile_loss(truth * factor, {0.1: said * factor}),
        ),
    ):
        assert one == pytest.approx(other)


def test_the_root_scale_is_of_squared_differences() -> None:
    histories = np.array([[NAN, 1.0, 4.0, 8.0], [NAN, NAN, NAN, 5.0]])
    assert accuracy.root_scale(histories, 1).tolist() == [math.sqrt(12.5), 0.0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"truth \(2, 3\) and prediction \(2, 2\)"):
        accuracy.mae(TRUTH, SAID[:, :2])
    with pytest.raises(InvalidInput, match="not one positive number for each of 2 samples"):
        accuracy.mase(TRUTH, SAID, np.array([1.0, 0.0]))
    with pytest.raises(InvalidInput, match="quantile 90 is not between 0 and 1"):
        accuracy.pinball(TRUTH, SAID, 90)
    with pytest.raises(InvalidInput, match="there is no quantile"):
        accuracy.weighted_quantile_loss(TRUTH, {})
