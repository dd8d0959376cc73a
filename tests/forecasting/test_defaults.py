"""What a spec of forecasts has by default."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.forecasting.test_panel import spec_of


@pytest.mark.parametrize(
    ("step", "horizon", "days", "counted"),
    # The longest months and quarters: 372 days are more than the year that runs are counted over.
    [("month", 6, 186, 365), ("month", 12, 372, 372), ("quarter", 8, 736, 736)],
)
def test_a_forecast_of_over_a_year_is_tried_again_when_it_has_passed(
    step: str, horizon: int, days: int, counted: int
) -> None:
    retraining = spec_of({"step": step, "horizon": horizon, "season": 4}).retraining
    assert retraining.cooldown == timedelta(days=days)
    assert retraining.budget.per == timedelta(days=counted)
