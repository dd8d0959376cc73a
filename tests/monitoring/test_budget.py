"""False alarms are controlled over a horizon of windows, and planted shifts are still found."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.budget import FalseAlarmBudget
from monitoring.detectors import Detector, DetectorConfig, build_detector
from monitoring.table import Column, Table
from noria.errors import InvalidInput

BUDGET = FalseAlarmBudget(probability=0.05, horizon=24)
HORIZONS = 200
SCHEMA = (
    *(Column(f"x{i}", "numeric") for i in range(4)),
    Column("c", "categorical", ("a", "b", "c")),
)


def rows_of(random: np.random.Generator, rows: int, shift: float = 0.0) -> Table:
    columns = {f"x{i}": random.normal(shift if i == 0 else 0, 1, rows) for i in range(4)}
    chosen = random.choice(3, rows, p=[0.5, 0.3, 0.2]).astype(np.int32)
    return Table(SCHEMA, columns | {"c": chosen}, rows)


def detectors_of(reference: Table, *, spent_per_window: float | None = None) -> list[Detector]:
    """Two detectors that share the budget, or each the same level in each window."""
    shares = BUDGET.shares({"features": 1.0, "one": 1.0})
    kinds = (("features", "tabular", ()), ("one", "ks", ("x1",)))
    return [
        build_detector(
            DetectorConfig(name, kind, columns=columns, alpha=spent_per_window or shares[name]),
            reference,
        )
        for name, kind, columns in kinds
    ]


def alarm_rate(horizons: int, seed: int, spent_per_window: float | None = None) -> float:
    """The share of horizons without drift in which any detector alarms in any window."""
    alarms = 0
    for horizon in range(horizons):
        # A new reference each time: windows of one horizon share its noise.
        random = np.random.default_rng([seed, horizon])
        detectors = detectors_of(rows_of(random, 2000), spent_per_window=spent_per_window)
        windows = (rows_of(random, 200) for _ in range(BUDGET.horizon))
        alarms += any(d.score(window).drift for window in windows for d in detectors)
    return alarms / horizons


def test_without_drift_horizons_alarm_at_most_as_often_as_the_budget_says() -> None:
    assert alarm_rate(HORIZONS, seed=1) <= BUDGET.probability


def test_a_level_per_window_alarms_far_more_often_than_the_budget_says() -> None:
    # What the budget is for: this is the usual 0.05 in each window.
    assert alarm_rate(15, seed=2, spent_per_window=0.05) > 0.5


@pytest.mark.parametrize("backend_kind", ["tabular", "mmd"])
def test_a_planted_shift_is_found_within_the_budget(backend_kind: str) -> None:
    share = BUDGET.shares({"a": 1.0, "b": 1.0})["a"]
    found = 0
    for trial in range(10):
        random = np.random.default_rng([3, trial])
        reference = rows_of(random, 2000)
        options = {"referenceRows": 500} if backend_kind == "mmd" else {}
        config = DetectorConfig("a", backend_kind, alpha=share, options=options)
        found += build_detector(config, reference).score(rows_of(random, 500, 0.5)).drift
    assert found >= 9


def test_a_shift_that_starts_midway_is_found_in_the_window_after_it() -> None:
    random = np.random.default_rng(4)
    detectors = detectors_of(rows_of(random, 5000))
    shifts = [0.0] * 12 + [0.4] * 12
    found = [
        any(d.score(rows_of(random, 1000, shift)).drift for d in detectors) for shift in shifts
    ]
    assert found == [False] * 12 + [True] * 12


def test_shares_add_up_to_the_budget_over_any_horizon() -> None:
    shares = BUDGET.shares({"a": 1.0, "b": 3.0})
    assert sum(shares.values()) * BUDGET.horizon == pytest.approx(BUDGET.probability)
    assert shares["b"] == pytest.approx(3 * shares["a"])


def test_a_budget_that_means_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="probability"):
        FalseAlarmBudget(1.0, 24)
    with pytest.raises(InvalidInput, match="horizon"):
        FalseAlarmBudget(0.05, 0)
    with pytest.raises(InvalidInput, match="weight"):
        BUDGET.shares({"a": 0.0})
