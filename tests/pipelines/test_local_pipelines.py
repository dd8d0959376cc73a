"""The local Pipelines adapter: one process per run, found again whatever dies."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest

from noria.loop.conformance import PipelinesConformance
from noria.loop.conformance.expect import soon
from noria.loop.values import GateResult, RunPhase, RunRequest, RunResult, Verdict, to_json
from pipelines.adapter import LocalPipelines

STANDIN = Path(__file__).with_name("standin_runner.py")
RESULT = RunResult(
    version="3",
    rows=100,
    metrics={"auc": 0.7},
    gates=(GateResult("auc", Verdict.PASS, "", 0.7, 0.5, 100),),
    champion="2",
)


class Driver:
    patience = 20.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[LocalPipelines] = []
        self.port = self.reopen()

    def reopen(self) -> LocalPipelines:
        self.opened.append(
            LocalPipelines(
                self.folder / "runs",
                lambda model: self.folder / f"{model}.yaml",
                f"sqlite:///{self.folder}/mlflow.db",
                self.folder / "artifacts",
                runner=(sys.executable, str(STANDIN)),
            )
        )
        return self.opened[-1]

    def request(self, run_id: str) -> RunRequest:
        return RunRequest(run_id, "flights", datetime(2013, 2, 1, tzinfo=UTC), "drift", "2")

    def started(self) -> int:
        marks = self.folder / "runs" / "started"
        soon(marks.exists, bool, self.patience, "the runner started")
        time.sleep(0.3)  # a second runner, if there is one, has had its time by then
        return len(marks.read_text().splitlines())

    def succeed(self, run_id: str) -> RunResult:
        self._order(run_id, to_json(RESULT).decode())
        return RESULT

    def fail(self, run_id: str) -> None:
        self._order(run_id, "fail")

    def running(self, run_id: str) -> int:
        """Wait until the runner works; return its pid."""
        soon(
            lambda: self.port.status(run_id),
            lambda status: status.detail == "train",
            self.patience,
            "running",
        )
        runner = self.port.run_dir(run_id).runner()
        assert runner is not None
        return runner.pid

    def close(self) -> None:
        for run in (self.folder / "runs").glob("*/request.json"):
            self.port.cancel(unquote(run.parent.name))
        for port in self.opened:
            for child in port._children.values():
                child.wait(10)

    def _order(self, run_id: str, text: str) -> None:
        draft = self.port.run_dir(run_id).path / "draft"
        draft.write_text(text)
        draft.rename(draft.with_name("order"))


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    found = Driver(tmp_path)
    yield found
    found.close()


class TestLocalPipelines(PipelinesConformance):
    pass


def test_a_running_run_tells_its_step(driver: Driver) -> None:
    driver.port.start(driver.request("run-1"))
    driver.running("run-1")

    assert driver.port.status("run-1").detail == "train"


def test_a_killed_runner_is_a_failed_run_that_names_its_step(driver: Driver) -> None:
    driver.port.start(driver.request("run-1"))
    pid = driver.running("run-1")

    os.kill(pid, signal.SIGKILL)

    again = driver.reopen()
    status = soon(lambda: again.status("run-1"), lambda s: s.phase is RunPhase.FAILED, 10, "failed")
    assert status.detail.startswith("train: the runner was killed")
    again.start(driver.request("run-1"))
    assert driver.started() == 1


def test_cancelling_reaches_a_runner_that_another_process_started(driver: Driver) -> None:
    driver.port.start(driver.request("run-1"))
    pid = driver.running("run-1")

    driver.reopen().cancel("run-1")

    assert driver.reopen().status("run-1").phase is RunPhase.CANCELLED
    driver.port.status("run-1")  # reaps its child
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_start_cut_off_before_its_process_is_made_good(driver: Driver) -> None:
    driver.port.run_dir("run-1").accept(driver.request("run-1"))

    driver.reopen().start(driver.request("run-1"))

    assert driver.started() == 1


def test_a_run_id_may_hold_any_characters(driver: Driver) -> None:
    driver.port.start(driver.request("flights/2013-02 #1"))

    assert driver.port.status("flights/2013-02 #1").run_id == "flights/2013-02 #1"
    assert driver.started() == 1
    driver.port.cancel("flights/2013-02 #1")
