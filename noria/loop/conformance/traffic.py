"""What every ``Traffic`` adapter must show."""

# ruff: noqa: D102 - a test's name is its documentation

from __future__ import annotations

from functools import partial
from typing import Protocol

from noria.errors import TrafficError
from noria.loop.conformance import expect
from noria.loop.ports import Traffic


class TrafficDriver(Protocol):
    """The world behind the adapter. Nothing is deployed at first."""

    port: Traffic
    model: str
    patience: float
    versions: tuple[str, str]
    """Two versions that can be deployed."""

    def make_ready(self, version: str) -> None:
        """Let a deployed version get ready, if it does not by itself."""

    def break_down(self, version: str) -> None:
        """Let a deployed version stop answering."""

    def reopen(self) -> Traffic:
        """Return another adapter on the same world, as after a crash of this process."""


class TrafficConformance:
    """Only what can answer gets traffic; what has traffic is not stopped."""

    def test_at_first_there_is_nothing(self, driver: TrafficDriver) -> None:
        expect.same(dict(driver.port.ready(driver.model)), {}, "deployed")
        expect.same(_split(driver), {}, "weights")

    def test_a_deployed_version_is_listed_at_once(self, driver: TrafficDriver) -> None:
        driver.port.deploy(driver.model, driver.versions[0])
        expect.same(set(driver.port.ready(driver.model)), {driver.versions[0]}, "deployed")

    def test_a_deployed_version_gets_ready_and_has_no_traffic(self, driver: TrafficDriver) -> None:
        _up(driver, driver.versions[0])
        expect.same(_split(driver), {}, "weights")

    def test_deploying_again_changes_nothing(self, driver: TrafficDriver) -> None:
        first, _ = driver.versions
        _up(driver, first)
        driver.port.deploy(driver.model, first)
        expect.same(dict(driver.port.ready(driver.model)), {first: True}, "deployed")

    def test_traffic_is_split_as_asked(self, driver: TrafficDriver) -> None:
        first, second = driver.versions
        _up(driver, first)
        _up(driver, second)
        for split in ({first: 100}, {first: 90, second: 10}, {second: 100}):
            driver.port.set_weights(driver.model, split)
            _until_split(driver, split)

    def test_a_version_that_is_not_deployed_gets_no_traffic(self, driver: TrafficDriver) -> None:
        first, second = driver.versions
        _up(driver, first)
        driver.port.set_weights(driver.model, {first: 100})
        expect.refused(
            TrafficError,
            lambda: driver.port.set_weights(driver.model, {first: 50, second: 50}),
        )
        _until_split(driver, {first: 100})

    def test_a_version_that_broke_down_gets_no_traffic(self, driver: TrafficDriver) -> None:
        first, second = driver.versions
        _up(driver, first)
        _up(driver, second)
        driver.port.set_weights(driver.model, {first: 100})
        driver.break_down(second)
        expect.soon(
            lambda: driver.port.ready(driver.model).get(second, False),
            lambda ready: not ready,
            driver.patience,
            "readiness of a broken version",
        )
        expect.refused(
            TrafficError,
            lambda: driver.port.set_weights(driver.model, {first: 50, second: 50}),
        )

    def test_a_split_that_does_not_sum_to_100_is_refused(self, driver: TrafficDriver) -> None:
        first, _ = driver.versions
        _up(driver, first)
        for wrong in ({first: 90}, {first: 110}, {}):
            expect.refused(TrafficError, partial(driver.port.set_weights, driver.model, wrong))
        expect.same(_split(driver), {}, "weights")

    def test_a_version_with_traffic_is_not_retired(self, driver: TrafficDriver) -> None:
        first, _ = driver.versions
        _up(driver, first)
        driver.port.set_weights(driver.model, {first: 100})
        _until_split(driver, {first: 100})
        expect.refused(TrafficError, lambda: driver.port.retire(driver.model, first))
        expect.true(driver.port.ready(driver.model).get(first), "still there")

    def test_a_retired_version_is_gone(self, driver: TrafficDriver) -> None:
        first, second = driver.versions
        _up(driver, first)
        _up(driver, second)
        driver.port.set_weights(driver.model, {second: 100})
        _until_split(driver, {second: 100})
        for _ in range(2):
            driver.port.retire(driver.model, first)
        expect.soon(
            lambda: set(driver.port.ready(driver.model)),
            lambda deployed: deployed == {second},
            driver.patience,
            "deployed",
        )

    def test_all_of_it_is_found_again_after_a_crash(self, driver: TrafficDriver) -> None:
        first, second = driver.versions
        _up(driver, first)
        _up(driver, second)
        driver.port.set_weights(driver.model, {first: 90, second: 10})
        _until_split(driver, {first: 90, second: 10})
        again = driver.reopen()
        expect.same(set(again.ready(driver.model)), {first, second}, "deployed")
        seen = {v: w for v, w in again.weights(driver.model).items() if w}
        expect.same(seen, {first: 90, second: 10}, "weights")


def _up(driver: TrafficDriver, version: str) -> None:
    driver.port.deploy(driver.model, version)
    driver.make_ready(version)
    expect.soon(
        lambda: driver.port.ready(driver.model).get(version, False),
        bool,
        driver.patience,
        f"readiness of {version}",
    )


def _split(driver: TrafficDriver) -> dict[str, int]:
    return {v: w for v, w in driver.port.weights(driver.model).items() if w}


def _until_split(driver: TrafficDriver, split: dict[str, int]) -> None:
    expect.soon(lambda: _split(driver), lambda seen: seen == split, driver.patience, "weights")
