"""What a monitor watches of a history."""

from __future__ import annotations

import numpy as np
import pytest

from noria.tasks.forecasting.describe import DESCRIPTORS
from noria.tasks.forecasting.shape import described

WEEK = np.array([4.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0])


def of(*values: float, season: int) -> dict[str, float]:
    found = described(np.array([values], np.float64), season)
    assert tuple(found) == DESCRIPTORS
    return {name: float(column[0]) for name, column in found.items()}


def test_by_hand() -> None:
    found = of(np.nan, 1.0, 3.0, 2.0, 6.0, season=2)
    assert found["values"] == 4
    assert found["level"] == 4.0
    # From (1 + 3) / 2 to (2 + 6) / 2, of a mean size of 3.
    assert found["growth"] == pytest.approx(2 / 3)
    assert found["volatility"] == pytest.approx((2 + 1 + 4) / 3 / 3)
    # Within seasons -1, 1 and -2, 2: places explain 2 * 1.5^2 * 2 of 10.
    assert found["seasonality"] == pytest.approx(9 / 10)


def test_no_descriptor_changes_with_the_day_on_which_a_history_ends() -> None:
    series = np.tile(WEEK, 12)
    histories = np.array([series[start : start + 42] for start in range(14)])
    for name, values in described(histories, 7).items():
        assert np.ptp(values) == pytest.approx(0.0, abs=1e-12), name


def test_what_a_history_is_too_short_for_is_missing() -> None:
    found = of(*[np.nan] * 20, 5.0, season=7)
    assert found["level"] == 5.0
    assert found["values"] == 1
    for name in ("growth", "volatility", "seasonality"):
        assert np.isnan(found[name]), name


def test_a_constant_has_no_season_and_does_not_change() -> None:
    found = of(*[7.0] * 40, season=7)
    assert (found["growth"], found["volatility"], found["seasonality"]) == (0.0, 0.0, 0.0)
    assert of(*[0.0] * 40, season=7)["volatility"] == 0.0


def test_a_series_without_a_season_has_none() -> None:
    assert of(1.0, 5.0, 2.0, 8.0, season=1)["seasonality"] == 0.0
