"""Intervals by split conformal prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import InvalidInput
from noria.tasks.forecasting.accuracy import coverage
from noria.tasks.forecasting.intervals import FEW, band, calibrate, scale
from tests.forecasting.histories import Array, any_history, padded


def test_the_scale_is_the_mean_seasonal_difference() -> None:
    history = np.array([1.0, 5.0, 2.0, 8.0])
    assert scale(history[None], 1).tolist() == [(4.0 + 3.0 + 6.0) / 3.0]
    assert scale(padded(np.ones(6), history), 2)[1] == 2.0


@pytest.mark.parametrize(
    ("history", "season", "expected"),
    [
        ([1.0, 3.0, 1.0, 3.0], 2, 2.0),  # it repeats exactly: neighbours
        ([1.0, 4.0], 5, 3.0),  # less than a season
        ([-7.0, -7.0], 1, 7.0),  # a constant: its size
        ([0.0, 0.0], 1, 1.0),
        ([4.0], 1, 4.0),
        ([np.nan], 1, 1.0),
    ],
)
def test_the_scale_without_seasonal_differences(
    history: list[float], season: int, expected: float
) -> None:
    assert scale(np.array([history]), season).tolist() == [expected]


@settings(deadline=None)
@given(history=any_history(), season=st.integers(1, 12))
def test_the_scale_is_positive_and_finite(history: Array, season: int) -> None:
    found = scale(history[None], season)
    assert found[0] > 0.0
    assert np.isfinite(found[0])


def test_the_width_is_the_error_of_the_conformal_rank() -> None:
    errors = np.arange(1.0, 10.0)[:, None]
    # ceil(10 * 0.8) = 8 and ceil(10 * 0.5) = 5.
    found = calibrate(errors, (0.8, 0.5))
    assert found[0.8].tolist() == [8.0]
    assert found[0.5].tolist() == [5.0]


@pytest.mark.parametrize(("level", "least"), [(0.8, 4), (0.9, 9), (0.95, 19)])
def test_too_few_errors_have_an_infinite_width(level: float, least: int) -> None:
    errors = np.arange(1.0, least + 1.0)[:, None]
    assert calibrate(errors, (level,))[level].tolist() == [float(least)]
    assert calibrate(errors[1:], (level,))[level].tolist() == [math.inf]


def test_unknown_errors_count_nowhere() -> None:
    errors = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 6.0], [4.0, np.nan]])
    assert calibrate(errors, (0.8,))[0.8].tolist() == [4.0, math.inf]


def test_few_errors_have_widths_that_never_shrink() -> None:
    errors = np.stack([np.full(4, value) for value in (2.0, 6.0, 4.0, 8.0)], axis=1)
    assert calibrate(errors, (0.8,))[0.8].tolist() == [2.0, 5.0, 5.0, 8.0]
    many = np.repeat(errors, FEW, axis=0)
    assert calibrate(many, (0.8,))[0.8].tolist() == [2.0, 6.0, 4.0, 8.0]


@pytest.mark.parametrize("samples", [4, 9, 30, 300])
def test_exchangeable_errors_are_covered_as_often_as_said(samples: int) -> None:
    random = np.random.default_rng(samples)
    held = []
    for _ in range(2000):
        errors = np.abs(random.standard_t(3, size=(samples + 1, 1)))
        width = calibrate(errors[:-1], (0.8,))[0.8][0]
        held.append(errors[-1, 0] <= width)
    # At least 80 %, at most 1 / (n + 1) more; 2,000 draws have a standard error of 0.009.
    assert 0.8 - 0.03 <= np.mean(held) <= 0.8 + 1.0 / (samples + 1) + 0.03


def test_bands_of_other_series_are_as_wide_as_their_scales() -> None:
    random = np.random.default_rng(0)
    sizes = np.exp(random.normal(scale=3.0, size=600))
    growth = np.sqrt(np.arange(1.0, 9.0))
    errors = np.abs(random.normal(size=(600, 8)) * growth)
    widths = calibrate(errors[:300], (0.8,))[0.8]
    truth = (random.normal(size=(600, 8)) * growth) * sizes[:, None]
    low, high = band(np.zeros((600, 8)), sizes, widths)
    assert coverage(truth, low, high).mean() == pytest.approx(0.8, abs=0.03)
    assert np.array_equal(high, -low)
    assert np.array_equal(high[0], sizes[0] * widths)


@settings(deadline=None)
@given(
    errors=st.integers(1, 40).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(0, 1e9) | st.just(math.nan), min_size=3, max_size=3),
            min_size=n,
            max_size=n,
        )
    )
)
def test_higher_levels_are_wider_and_later_steps_no_surer(errors: list[list[float]]) -> None:
    found = calibrate(np.array(errors), (0.5, 0.8, 0.95))
    narrow, middle, wide = found.values()
    slack = 1.0 + 1e-9
    assert (narrow <= middle * slack).all()
    assert (middle <= wide * slack).all()
    for widths in found.values():
        assert (widths[:-1] <= widths[1:] * slack).all()


def test_what_is_no_error_is_refused() -> None:
    with pytest.raises(InvalidInput, match="level 80 is not between 0 and 1"):
        calibrate(np.ones((5, 2)), (80,))
    with pytest.raises(InvalidInput, match="not absolute errors"):
        calibrate(-np.ones((5, 2)), (0.8,))
    with pytest.raises(InvalidInput, match="season 0"):
        scale(np.ones((1, 3)), 0)
