"""Thresholds: exact p-values, the promise that they keep, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from noria.errors import DataError
from noria.tasks.anomaly.calibration import Calibration, load_calibration, rows_for


def test_p_values_count_the_rows_that_score_no_less() -> None:
    found = Calibration.of(np.array([1.0, 2.0, 2.0, 4.0]), 0.4)
    asked = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 9.0])
    assert found.p_values(asked).tolist() == [1.0, 1.0, 0.8, 0.4, 0.4, 0.2]
    # At most 0.4: what scores more than 2.
    assert found.alarms(asked).tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.013, 0.05, 0.3])
def test_a_row_alarms_where_its_p_value_is_at_most_the_rate_and_its_prediction_over_the_threshold(
    rate: float,
) -> None:
    rng = np.random.default_rng(1)
    found = Calibration.of(np.round(rng.normal(size=700), 2), rate)
    asked = np.sort(np.r_[found.scores, rng.normal(size=5000) * 2])
    alarms = found.alarms(asked)
    assert alarms.tolist() == (found.p_values(asked) <= rate).tolist()
    predictions = found.unlikeness(asked)
    assert alarms.tolist() == (predictions > found.threshold).tolist()
    assert 0.0 <= predictions.min() < predictions.max() <= 1.0


def test_predictions_rise_with_the_score_beyond_what_was_calibrated_too() -> None:
    found = Calibration.of(np.random.default_rng(0).normal(size=500), 0.01)
    asked = np.unique(np.r_[found.scores, np.linspace(-20, 20, 2001), 1e3, 1e4])
    assert (np.diff(found.unlikeness(asked)) > 0.0).all()


def test_false_alarms_come_as_often_as_is_promised() -> None:
    """Over calibrations the rate of one is Beta(k, n + 1 - k), k = 2 of n = 199 at 1 %."""
    rng = np.random.default_rng(5)
    rates = np.array(
        [
            1.0 - Calibration.of(rng.random(199), 0.01).limit  # scores are uniform
            for _ in range(4000)
        ]
    )
    expected = beta(2, 198)
    assert rates.mean() == pytest.approx(expected.mean(), rel=0.04)
    assert expected.mean() == pytest.approx(0.01)
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(rates, share) == pytest.approx(expected.ppf(share), rel=0.08)


@pytest.mark.parametrize(("rate", "rows"), [(0.01, 99), (0.005, 199), (0.05, 19), (0.3, 3)])
def test_a_rate_needs_rows_enough(rate: float, rows: int) -> None:
    assert rows_for(rate) == rows
    scores = np.arange(float(rows))
    # With exactly enough, a row alarms that scores more than all of them.
    assert Calibration.of(scores, rate).limit >= scores[-2]
    with pytest.raises(
        DataError, match=rf"needs {rows} calibration rows, and there are {rows - 1}"
    ):
        Calibration.of(scores[1:], rate)


def test_the_refusal_names_a_rate_that_would_do() -> None:
    with pytest.raises(DataError) as refused:
        Calibration.of(np.arange(50.0), 0.01)
    assert "0.0197 or more" in str(refused.value)
    Calibration.of(np.arange(50.0), 0.0197)


def test_scores_that_are_all_alike_never_alarm_by_themselves() -> None:
    found = Calibration.of(np.zeros(200), 0.01)
    assert not found.alarms(np.zeros(3)).any()
    assert found.alarms(np.array([0.1])).all()
    assert np.isfinite(found.unlikeness(np.array([-1.0, 0.0, 1.0]))).all()


def test_a_calibration_is_the_same_from_its_arrays() -> None:
    found = Calibration.of(np.random.default_rng(0).normal(size=300), 0.02)
    again = load_calibration(found.arrays())
    asked = np.linspace(-3, 5, 50)
    assert again.unlikeness(asked).tolist() == found.unlikeness(asked).tolist()
    assert again.threshold == found.threshold
