"""The commands as a person runs them: each in a process of its own, on the second example."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.places.machine import Machine
from noria.tasks.sources.files import load_module
from noria.view import ModelView, Phase, Stage, doing_text, verdict_text

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "delay-minutes"
NAME = "delay-minutes"
ROW = {
    "flight_id": "X1",
    "scheduled": "2013-03-01T11:00:00Z",
    "carrier": "UA",
    "origin": "EWR",
    "dest": "DFW",
    "distance": 1372,
    "sched_minute": 360,
    "temp": 35,
    "dewp": 28,
    "humid": 78,
    "wind_dir": 220,
    "wind_speed": 4.6,
    "precip": 0,
    "pressure": 1004,
    "visib": 10,
}


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Project:
    """A folder with model files, and the state that the commands keep beside them."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / ".noria"

    def noria(self, *arguments: str, stdin: str = "", timeout: float = 300) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "noria.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, "NORIA_HOME": str(self.home)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "bug in Noria" not in done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, stdin: str = "", timeout: float = 300) -> str:
        ran = self.noria(*arguments, stdin=stdin, timeout=timeout)
        assert ran.code == 0, f"noria {' '.join(arguments)}: {ran.out}{ran.err}{self.log()}"
        return ran.out

    def log(self) -> str:
        log = self.home / "up.log"
        return log.read_text() if log.exists() else ""

    def models(self) -> list[dict[str, Any]]:
        return [_told(view) for view in Machine(self.home).overview()]

    def model(self, name: str = NAME) -> dict[str, Any]:
        nothing = _told(ModelView(name, Stage(Phase.NOT_STARTED)))
        return next((model for model in self.models() if model["name"] == name), nothing)

    def until(
        self, condition: Callable[[dict[str, Any]], bool], name: str = NAME, seconds: float = 180
    ) -> dict[str, Any]:
        """Wait until the model's status fulfils a condition."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen = self.model(name)
            if condition(seen):
                return seen
            time.sleep(0.2)
        pytest.fail(f"not in {seconds} s: {self.model(name)}\n{self.log()}")

    def pids(self, name: str = NAME) -> dict[str, int]:
        """Return the process ids of what runs for a model, by what it is: ``server v1``."""
        lines = (re.fullmatch(r"(.+) \(pid (\d+)\)", p) for p in self.model(name)["processes"])
        return {line[1]: int(line[2]) for line in lines if line is not None}

    def kill(self, *what: str) -> None:
        running = self.pids()
        for one in what:
            os.kill(running[one], signal.SIGKILL)

    def month(self, month: int) -> None:
        """Let a month's flights arrive."""
        name = f"flights-2013-{month:02}.parquet"
        shutil.move(self.folder / "later" / name, self.folder / "data" / name)


def _told(view: ModelView) -> dict[str, Any]:
    """Return what a model is doing, and the sentences of it that are printed."""
    said = {"doing": doing_text(view), "last": verdict_text(view.verdict)}
    return {**dataclasses.asdict(view), **said}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty folder; whatever is up in it is taken down at the end."""
    made = Project(tmp_path)
    yield made
    made.noria("down")


@pytest.fixture
def delays(project: Project) -> Project:
    """The second example, small, with the flights of January and February."""
    for name in ("data.py", "model.yaml"):
        shutil.copyfile(EXAMPLE / name, project.folder / name)
    load_module(project.folder / "data.py").prepare(project.folder, fraction=0.1)
    (project.folder / "later").mkdir()
    for path in (project.folder / "data").glob("flights-2013-*.parquet"):
        if path.stem > "flights-2013-02":
            shutil.move(path, project.folder / "later" / path.name)
    file = project.folder / "model.yaml"
    content = yaml.safe_load(file.read_text())
    spec = content["spec"]
    spec["train"]["hyperparameters"]["n_estimators"] = 30
    spec["gates"] = {
        "minRows": 100,
        "bounds": [{"metric": "mae", "max": 60}],
        "champion": [{"metric": "mae", "maxDrop": 10.0, "minGain": -10.0, "confidence": 0.9}],
    }
    spec["serving"]["canary"] = {
        "steps": [20, 50],
        "minSamples": 40,
        "stepTimeout": "1h",
        "analysis": [
            {"metric": "error-rate", "max": 0.01},
            {"metric": "latency-p50", "max": "2s"},
        ],
    }
    spec["monitoring"]["window"] = {"rows": 200}
    spec["monitoring"]["performance"]["window"] = {"rows": 200}
    spec["retraining"] = {"signals": ["manual"], "budget": {"runs": 6, "per": "365d"}}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return project
