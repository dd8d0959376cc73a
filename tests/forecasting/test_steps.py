"""Moments as steps of a calendar: days that lose an hour, weeks, months, quarters of an hour."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from noria.tasks.forecasting.steps import Steps


def ms(*moments: str) -> np.ndarray:
    return pd.to_datetime(list(moments), utc=True).as_unit("ms").asi8


@pytest.mark.parametrize(
    ("steps", "moments"),
    [
        # Midnights in Berlin around the last Sunday of March, a day of 23 hours, and of October.
        (
            Steps(1, "day", "Europe/Berlin"),
            ("2026-03-28T23:00Z", "2026-03-29T22:00Z", "2026-03-30T22:00Z"),
        ),
        (
            Steps(1, "day", "Europe/Berlin"),
            ("2026-10-23T22:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        ),
        # Beirut's clocks skip midnight itself.
        (
            Steps(1, "day", "Asia/Beirut"),
            ("2022-03-25T22:00Z", "2022-03-26T22:00Z", "2022-03-27T21:00Z"),
        ),
        (
            Steps(1, "day", "Asia/Seoul"),
            ("2026-01-01T15:00Z", "2026-01-02T15:00Z", "2026-01-03T15:00Z"),
        ),
        (Steps(1, "hour", "UTC"), ("2026-10-25T00:00Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z")),
        (
            Steps(15, "minute", "UTC"),
            ("2026-01-01T00:00Z", "2026-01-01T00:15Z", "2026-01-01T00:30Z"),
        ),
        (Steps(1, "week", "UTC"), ("2025-12-22T00:00Z", "2025-12-29T00:00Z", "2026-01-05T00:00Z")),
        (Steps(1, "month", "UTC"), ("2026-01-01T00:00Z", "2026-02-01T00:00Z", "2026-03-01T00:00Z")),
        (
            Steps(1, "quarter", "UTC"),
            ("2025-10-01T00:00Z", "2026-01-01T00:00Z", "2026-04-01T00:00Z"),
        ),
        (Steps(1, "year", "UTC"), ("2024-01-01T00:00Z", "2025-01-01T00:00Z", "2026-01-01T00:00Z")),
    ],
)
def test_what_starts_one_step_after_another_has_the_next_number(
    steps: Steps, moments: tuple[str, ...]
) -> None:
    begun = ms(*moments)
    numbers = steps.numbers(begun)
    assert np.diff(numbers).tolist() == [1] * (len(moments) - 1)
    assert steps.numbers(begun - 1).tolist() == (numbers - 1).tolist()
    assert steps.starts(numbers).tolist() == begun.tolist()


def test_a_moment_within_a_step_is_of_that_step() -> None:
    steps = Steps(1, "month", "Asia/Seoul")
    late, next_month = steps.numbers(ms("2026-01-31T14:59:59Z", "2026-01-31T15:00:00Z")).tolist()
    assert next_month == late + 1


def test_several_days_are_one_step_before_1970_too() -> None:
    numbers = Steps(2, "day", "UTC").numbers(ms("1969-12-28", "1969-12-30", "1970-01-01"))
    assert numbers.tolist() == [-2, -1, 0]
