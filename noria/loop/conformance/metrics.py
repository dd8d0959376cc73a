"""What every ``Metrics`` adapter must show."""

# ruff: noqa: D102 - a test's name is its documentation

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from noria.errors import MetricsError, Unavailable
from noria.loop.conformance import expect
from noria.loop.ports import ROWS_PER_DAY, Metrics
from noria.loop.values import Compared, MetricQuery, Signal


class MetricsDriver(Protocol):
    """The world behind the adapter."""

    port: Metrics
    model: str
    patience: float
    metric: str
    """A metric that the adapter can measure."""

    def publish(self, version: str, samples: int) -> Compared:
        """Make ``metric`` of a version measurable from ``samples``; return what is right."""

    def signal(self) -> Signal:
        """Make a signal appear; return it."""

    def now(self) -> datetime:
        """Return the source's time."""

    def take_down(self) -> None:
        """Make the source stop answering."""


class MetricsConformance:
    """No data is no data; a source that is down is never a good number."""

    def test_a_version_without_data_has_no_value(self, driver: MetricsDriver) -> None:
        seen = driver.port.measure(_query(driver, "404"))
        expect.same((seen.value, seen.samples), (None, 0), "value and samples without data")
        expect.same((seen.metric, seen.version), (driver.metric, "404"), "what was asked for")

    def test_what_was_answered_is_measured(self, driver: MetricsDriver) -> None:
        right = driver.publish("1", 200)
        seen = expect.soon(
            lambda: driver.port.measure(_query(driver, "1")),
            lambda m: m.samples >= right.samples,
            driver.patience,
            "samples",
        )
        expect.same((seen.value, seen.samples), (right.value, right.samples), "the measurement")
        expect.same(seen.problem, "", "problem")

    def test_versions_are_not_mixed(self, driver: MetricsDriver) -> None:
        driver.publish("1", 200)
        expect.same(driver.port.measure(_query(driver, "2")).samples, 0, "samples of another one")

    def test_an_unknown_metric_is_a_problem_and_not_a_number(self, driver: MetricsDriver) -> None:
        driver.publish("1", 200)
        query = MetricQuery(driver.model, "1", "no-such-metric", _long_ago(driver))
        try:
            seen = driver.port.measure(query)
        except (MetricsError, Unavailable):
            return
        expect.same(seen.value, None, "value of an unknown metric")

    def test_the_traffic_has_a_rate_or_none_is_known(self, driver: MetricsDriver) -> None:
        driver.publish("1", 200)
        query = MetricQuery(driver.model, "1", ROWS_PER_DAY, _long_ago(driver))
        try:
            seen = driver.port.measure(query)
        except (MetricsError, Unavailable):
            return
        known = seen.value is not None and seen.value > 0
        expect.true(known or seen.value is None, "a rate over 0, or none")

    def test_signals_are_told_until_they_are_of_no_interest(self, driver: MetricsDriver) -> None:
        expect.same(driver.port.signals(driver.model), (), "signals before any")
        signal = driver.signal()
        told = expect.soon(
            lambda: driver.port.signals(driver.model),
            lambda signals: len(signals) > 0,
            driver.patience,
            "signals",
        )
        expect.among(signal.id, [s.id for s in told], "the signal's id")
        again = driver.port.signals(driver.model)
        expect.among(signal.id, [s.id for s in again], "the id, told again")

    def test_a_source_that_is_down_says_so(self, driver: MetricsDriver) -> None:
        driver.publish("1", 200)
        driver.take_down()
        try:
            seen = driver.port.measure(_query(driver, "1"))
        except (MetricsError, Unavailable):
            return
        expect.true(bool(seen.problem), "a problem is told")


def _long_ago(driver: MetricsDriver) -> datetime:
    return driver.now() - timedelta(days=1)


def _query(driver: MetricsDriver, version: str) -> MetricQuery:
    return MetricQuery(driver.model, version, driver.metric, _long_ago(driver))
