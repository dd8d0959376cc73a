"""What every ``Pipelines`` adapter must show."""

# ruff: noqa: D102 - a test's name is its documentation

from __future__ import annotations

from typing import Protocol

from noria.loop.conformance import expect
from noria.loop.ports import Pipelines
from noria.loop.values import RunPhase, RunRequest, RunResult, RunStatus

_GOING = (RunPhase.PENDING, RunPhase.RUNNING)


class PipelinesDriver(Protocol):
    """The world behind the adapter. Runs go on until the driver ends them."""

    port: Pipelines
    patience: float

    def request(self, run_id: str) -> RunRequest:
        """Return a request that the adapter can start."""

    def started(self) -> int:
        """Return how many runs were really started."""

    def succeed(self, run_id: str) -> RunResult:
        """Let a run end well; return its result."""

    def fail(self, run_id: str) -> None:
        """Let a run end badly."""

    def reopen(self) -> Pipelines:
        """Return another adapter on the same world, as after a crash of this process."""


class PipelinesConformance:
    """A run is started once, and found again by whoever asks."""

    def test_a_run_never_started_is_unknown(self, driver: PipelinesDriver) -> None:
        expect.same(driver.port.status("no-such-run").phase, RunPhase.UNKNOWN, "phase")

    def test_a_started_run_is_going(self, driver: PipelinesDriver) -> None:
        driver.port.start(driver.request("run-1"))
        status = driver.port.status("run-1")
        expect.same(status.run_id, "run-1", "run id")
        expect.among(status.phase, _GOING, "phase")

    def test_starting_twice_starts_one_run(self, driver: PipelinesDriver) -> None:
        driver.port.start(driver.request("run-1"))
        driver.port.start(driver.request("run-1"))
        expect.same(driver.started(), 1, "runs started")

    def test_starting_again_after_a_crash_starts_no_other(self, driver: PipelinesDriver) -> None:
        driver.port.start(driver.request("run-1"))
        again = driver.reopen()
        again.start(driver.request("run-1"))
        expect.same(driver.started(), 1, "runs started")
        expect.among(again.status("run-1").phase, _GOING, "phase")

    def test_a_run_that_is_over_is_not_started_again(self, driver: PipelinesDriver) -> None:
        driver.port.start(driver.request("run-1"))
        driver.succeed("run-1")
        _until(driver, "run-1", RunPhase.SUCCEEDED)
        driver.port.start(driver.request("run-1"))
        expect.same(driver.started(), 1, "runs started")
        expect.same(driver.port.status("run-1").phase, RunPhase.SUCCEEDED, "phase")

    def test_a_good_end_carries_the_result(self, driver: PipelinesDriver) -> None:
        driver.port.start(driver.request("run-1"))
        result = driver.succeed("run-1")
        status = _until(driver, "run-1", RunPhase.SUCCEEDED)
        expect.same(status.result, result, "result")
        expect.same(driver.reopen().status("run-1").result, result, "result after a crash")

    def test_a_bad_end_says_why(self, driver: PipelinesDriver) -> None:
        driver.port.start(driver.request("run-1"))
        driver.fail("run-1")
        status = _until(driver, "run-1", RunPhase.FAILED)
        expect.true(bool(status.detail), "a detail is told")
        expect.same(status.result, None, "result")

    def test_a_cancelled_run_stops(self, driver: PipelinesDriver) -> None:
        driver.port.start(driver.request("run-1"))
        driver.port.cancel("run-1")
        _until(driver, "run-1", RunPhase.CANCELLED)
        driver.port.cancel("run-1")
        expect.same(driver.port.status("run-1").phase, RunPhase.CANCELLED, "phase")

    def test_cancelling_what_is_not_there_does_nothing(self, driver: PipelinesDriver) -> None:
        driver.port.cancel("no-such-run")
        expect.same(driver.port.status("no-such-run").phase, RunPhase.UNKNOWN, "phase")

    def test_cancelling_a_finished_run_does_not_change_its_end(
        self, driver: PipelinesDriver
    ) -> None:
        driver.port.start(driver.request("run-1"))
        driver.succeed("run-1")
        _until(driver, "run-1", RunPhase.SUCCEEDED)
        driver.port.cancel("run-1")
        expect.same(driver.port.status("run-1").phase, RunPhase.SUCCEEDED, "phase")


def _until(driver: PipelinesDriver, run_id: str, phase: RunPhase) -> RunStatus:
    return expect.soon(
        lambda: driver.port.status(run_id),
        lambda status: status.phase is phase,
        driver.patience,
        f"status, wanted {phase}",
    )
