"""What every ``Clock`` must show."""

# ruff: noqa: D102 - a test's name is its documentation

from __future__ import annotations

from datetime import timedelta

from noria.loop.conformance import expect
from noria.loop.ports import Clock


class ClockConformance:
    """``driver`` is the clock itself."""

    def test_the_time_is_aware_and_in_utc(self, driver: Clock) -> None:
        expect.same(driver.now().utcoffset(), timedelta(0), "offset from UTC")

    def test_time_does_not_run_backwards(self, driver: Clock) -> None:
        first, second = driver.now(), driver.now()
        expect.true(second >= first, "the second look is not before the first")
