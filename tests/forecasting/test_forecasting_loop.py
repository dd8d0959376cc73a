"""Forecasts in the whole loop: served, watched, labelled by the source itself, trained again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.forecasting.conftest import Project, project_of
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WATCHED = """  monitoring:
    window: {rows: 200}
    performance: {window: {rows: 100}, maxLabelLag: 3650d}
  retraining: {signals: [performance]}
"""
START = "2026-05-20"


class Depots:
    """A project that is up, and its commands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.project = Project(path)

    def noria(self, *words: object) -> str:
        command = [sys.executable, "-m", "noria.cli", *map(str, words), "--home", self.home]
        ran = subprocess.run(
            command, cwd=self.path.parent, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    @property
    def home(self) -> str:
        return str(self.path.parent / "home")

    def status(self) -> dict[str, Any]:
        (found,) = json.loads(self.noria("status", "--json"))["models"]
        return dict(found)

    def ask(self, factor: float) -> None:
        """Ask at every origin since START, with values so many times what they were."""
        spec, rows = self.project.spec, self.project.rows
        learner = self.project.learner
        since = rows["day"].dt.tz_localize(None).astype("datetime64[ms]").astype(int)
        start = float(since[rows["day"] >= START].min())
        asked = learner.requests(spec, rows, start, float("inf")).rows
        url = self.status()["url"]
        with httpx.Client(timeout=120, trust_env=False) as client:
            for _, part in asked.groupby("day", sort=True):
                histories = [
                    [None if v != v else factor * v for v in one] for one in part["history"]
                ]
                body = {
                    "inputs": [
                        {"name": "depot", "shape": [len(part)], "datatype": "BYTES",
                         "data": part["depot"].tolist()},
                        {"name": "day", "shape": [len(part)], "datatype": "BYTES",
                         "data": [day.isoformat() for day in part["day"]]},
                        {"name": "history", "shape": [len(part), len(histories[0])],
                         "datatype": "FP64", "data": [v for one in histories for v in one]},
                    ]
                }  # fmt: skip
                answer = client.post(f"{url}/infer", json=body)
                assert answer.status_code == 200, answer.text

    def wait(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return until(self.status, found)


@pytest.fixture
def depots(tmp_path: Path) -> Iterator[Depots]:
    """Depots that are served by a version of the values before START."""
    path = project_of(tmp_path / "depots", {"  monitoring:\n    window: {rows: 200}\n": WATCHED})
    found = Depots(path)
    yield found
    found.noria("down")


def test_the_source_labels_forecasts_and_a_shift_is_seen(depots: Depots) -> None:
    depots.noria("train", "-f", depots.path)
    depots.noria("up", "-f", depots.path, "--detach")
    depots.wait(lambda found: found["champion"] == "1")
    depots.ask(1.0)
    # Nobody asks for it: `noria up` sees that the source's file is another one.
    file = depots.path.parent / "data" / "rows.csv"
    file.write_text(whole := file.read_text())
    found = depots.wait(lambda found: found["performance"])
    assert found["drift"] == []
    known = depots.noria("label", "depots", "--since", START)
    assert known.startswith("depots: 0 new labels")
    rows = depots.project.rows
    usual = rows["parcels"].mean()
    assert 0 < found["performance"]["mae"] <= found["performance"]["rmse"] < usual
    file.write_text(whole + "D00,no day,5\n")
    depots.ask(3.0)
    depots.wait(lambda found: "level" in json.dumps(found["drift"]))
    # What can't be read is said, and no longer once it can.
    broken = "column day: row 8401"
    depots.wait(lambda found: broken in json.dumps(found))
    file.write_text(whole)
    depots.wait(lambda found: broken not in json.dumps(found))
