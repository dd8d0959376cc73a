"""The whole training pipeline in KFP's local runner, with real parts and made-up rows."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noria.errors import PipelineError
from noria.loop.conformance.expect import soon
from noria.loop.values import RunPhase, RunRequest, RunStatus, Verdict, to_json
from noria.registry import MlflowRegistry
from pipelines.adapter import LocalPipelines
from pipelines.local import run_local
from pipelines.rundir import RunDir
from pipelines.training import STEPS

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

Project = Callable[..., Path]
MakeRequest = Callable[..., RunRequest]


@dataclass(frozen=True)
class Home:
    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def registry(self) -> MlflowRegistry:
        return MlflowRegistry(self.uri, self.artifacts)

    def run(self, model: Path, request: RunRequest, steps: list[str] | None = None) -> RunStatus:
        noticed: list[str] = [] if steps is None else steps
        return run_local(
            model,
            request,
            self.folder / "runs" / request.run_id,
            self.uri,
            self.artifacts,
            noticed.append,
        )


@pytest.fixture
def home(tmp_path: Path, empty_registry: Path) -> Home:
    # KFP replaces this word where it finds it in a command.
    folder = tmp_path / "of python3"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_registry.read_bytes())
    return Home(folder)


def test_a_run_goes_from_rows_to_a_version_and_the_next_meets_its_champion(
    home: Home, project: Project, request_run: MakeRequest
) -> None:
    model, steps = project(), []

    early = datetime(2013, 1, 20, tzinfo=UTC)
    first = home.run(model, request_run("run-1", as_of=early), steps)

    assert first.phase is RunPhase.SUCCEEDED, first.detail
    assert tuple(steps) == STEPS
    assert first.result is not None
    assert (first.result.version, first.result.champion) == ("1", None)
    assert 1000 < first.result.rows < 1500  # all rows of the time, fitted again
    assert first.result.metrics["auc"] > 0.7
    assert [gate.verdict for gate in first.result.gates] == [Verdict.PASS]
    folder = RunDir(home.folder / "runs" / "run-1")
    assert folder.status() == first
    assert [item.name for item in folder.progress().done] == list(STEPS)
    assert not folder.work.exists()
    assert "\x1b" not in folder.log.read_text()
    assert (home.registry.reference_path("flights", "1") / "reference.json").is_file()
    assert (model.parent / "rows.parquet").is_file()  # KFP cleans up only after itself
    card = next(home.artifacts.rglob("model_card.md")).read_text()
    assert 'it\'s drift in "distance"' in card

    # The same run again is the same version, at once; also when its runner was killed
    # after it had registered and before it could say so.
    assert home.run(model, request_run("run-1")) == first
    (folder.path / "status.json").unlink()
    port = LocalPipelines(home.folder / "runs", lambda _: model, home.uri, home.artifacts)
    assert port.status("run-1") == first

    home.registry.set_alias("flights", "champion", "1", expected=None)
    second = home.run(model, request_run("run-2", champion="1"))

    assert second.phase is RunPhase.SUCCEEDED, second.detail
    assert second.result is not None
    assert (second.result.version, second.result.champion) == ("2", "1")
    assert second.result.rows == 2000
    assert [info.version for info in home.registry.versions("flights")] == ["1", "2"]


def test_a_failed_step_is_named_with_the_users_error(
    home: Home, project: Project, request_run: MakeRequest
) -> None:
    status = home.run(project(count=100), request_run())

    assert status.phase is RunPhase.FAILED
    assert status.detail.startswith("validate: ")
    assert "minRows" in status.detail
    assert "Traceback" not in status.detail
    assert "\x1b" not in status.detail
    log = (home.folder / "runs" / "run-1" / "log.txt").read_text()
    assert "Traceback (most recent call last)" in log
    assert (home.folder / "runs" / "run-1" / "work").is_dir()
    assert home.registry.versions("flights") == ()


def test_a_broken_resource_fails_before_any_step(
    home: Home, project: Project, request_run: MakeRequest
) -> None:
    model = project()
    model.write_text(model.read_text().replace("algorithm: linear", "algorithm: lineer"))
    steps: list[str] = []

    status = home.run(model, request_run(), steps)

    assert status.phase is RunPhase.FAILED
    assert "spec.train.algorithm" in status.detail
    assert steps == []


def test_what_the_caller_prints_reaches_its_own_screen(
    home: Home, project: Project, request_run: MakeRequest
) -> None:
    screen = io.StringIO()
    with redirect_stdout(screen):
        run_local(
            project(count=100),
            request_run(),
            home.folder / "run",
            home.uri,
            home.artifacts,
            lambda step: print(f"training: {step}"),
        )

    assert screen.getvalue() == "training: ingest\ntraining: validate\n"


def test_two_runners_never_share_a_run(
    home: Home, project: Project, request_run: MakeRequest
) -> None:
    with (
        RunDir(home.folder / "runs" / "run-1").locked(),
        pytest.raises(PipelineError, match="a runner works on this run already"),
    ):
        home.run(project(), request_run())


def test_a_cancelled_run_takes_its_steps_with_it(
    home: Home, project: Project, request_run: MakeRequest
) -> None:
    model = project()
    (model.parent / "data.py").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    (model.parent / "rows.parquet").unlink()  # the module is asked to make it
    text = model.read_text().replace("  data:\n", "  data:\n    module: data.py\n")
    model.write_text(text)
    port = LocalPipelines(home.folder / "runs", lambda _: model, home.uri, home.artifacts)
    port.start(request_run())
    mark = model.parent / "pid"
    try:
        soon(mark.exists, bool, 60, "the step runs")
        soon(mark.read_text, bool, 5, "the step's pid")
    finally:
        port.cancel("run-1")

    assert port.status("run-1").phase is RunPhase.CANCELLED
    assert port.status("run-1").detail == "cancelled in step ingest"
    soon(lambda: _gone(int(mark.read_text())), bool, 5, "the step is gone")


def test_the_runner_is_a_command(home: Home, project: Project, request_run: MakeRequest) -> None:
    request = home.folder / "request.json"
    request.write_text(
        json.dumps(
            {
                "run_id": "run-1",
                "model": "other",
                "as_of": "2013-02-01T00:00:00Z",
                "reason": "",
                "champion": None,
            }
        )
    )
    arguments = {
        "--model": project(),
        "--request": request,
        "--run-dir": home.folder / "run",
        "--tracking-uri": home.uri,
        "--artifacts": home.artifacts,
    }
    words = [str(word) for pair in arguments.items() for word in pair]

    done = subprocess.run([sys.executable, "-m", "pipelines.local", *words], timeout=60)

    assert done.returncode == 1
    status = RunDir(home.folder / "run").status()
    assert status is not None
    assert "describes 'flights', the run is for 'other'" in status.detail


@pytest.mark.slow
def test_a_run_that_was_killed_in_its_search_carries_on_with_the_trials_it_had(
    home: Home, project: Project, request_run: MakeRequest
) -> None:
    search = {
        "kind": "random",
        "trials": 500,
        "timeout": "5m",
        "metric": "auc",
        "space": {"learning_rate": {"low": 0.01, "high": 0.3}},
    }
    model = project(algorithm="lightgbm", search=search)
    request = home.folder / "request.json"
    request.write_bytes(to_json(request_run()))
    folder = RunDir(home.folder / "run")
    arguments = {
        "--model": model,
        "--request": request,
        "--run-dir": folder.path,
        "--tracking-uri": home.uri,
        "--artifacts": home.artifacts,
    }
    words = [str(word) for pair in arguments.items() for word in pair]

    def until_more_than(trials: int) -> list[tuple[int, str]]:
        command = [sys.executable, "-m", "pipelines.local", *words]
        runner = subprocess.Popen(command, start_new_session=True)
        try:
            soon(lambda: len(_trials(folder)) > trials, bool, 90, "trials are over")
        finally:
            os.killpg(runner.pid, signal.SIGKILL)
            runner.wait()
        return _trials(folder)

    before = until_more_than(1)
    after = until_more_than(len(before))
    assert after[: len(before)] == before


def _trials(folder: RunDir) -> list[tuple[int, str]]:
    """The trials that are over, with the time at which each began."""
    study = folder.search / "study.sqlite"
    if not study.exists():
        return []
    with closing(sqlite3.connect(study, timeout=20)) as session, suppress(sqlite3.Error):
        return session.execute(
            "SELECT trial_id, datetime_start FROM trials WHERE state = 'COMPLETE' ORDER BY trial_id"
        ).fetchall()
    return []


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"
