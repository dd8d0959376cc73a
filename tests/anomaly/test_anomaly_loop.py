"""Anomalies in the whole loop: served, the share of alarms watched, labelled, seen to rise."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.anomaly.conftest import Project, project_of
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WATCHED = """  monitoring:
    window: {rows: 500}
    performance: {window: {rows: 500}, maxLabelLag: 3650d}
  retraining: {signals: [performance]}
"""
FEATURES = ("flow", "pressure", "current", "temperature", "vibration", "mode")


class Pumps:
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

    def ask(self, rows: pd.DataFrame) -> list[bool]:
        """Ask about rows; return which alarm."""
        url, alarms = self.status()["url"], []
        with httpx.Client(timeout=120, trust_env=False) as client:
            for start in range(0, len(rows), 100):
                part = rows.iloc[start : start + 100]
                tensors = [
                    {
                        "name": name,
                        "shape": [len(part)],
                        "datatype": "BYTES" if name in ("mode", "reading") else "FP64",
                        "data": part[name].tolist(),
                    }
                    for name in ("reading", *FEATURES)
                ]
                answer = client.post(f"{url}/infer", json={"inputs": tensors})
                assert answer.status_code == 200, answer.text
                found = {one["name"]: one["data"] for one in answer.json()["outputs"]}
                alarms.extend(found["anomaly"])
        return alarms

    def label(self, rows: pd.DataFrame, labels: list[int]) -> None:
        """Say what somebody found who looked at the rows."""
        file = self.path.parent / "labels.csv"
        rows.assign(leak=labels).to_csv(file, index=False)
        self.noria("label", "pumps", "--rows", file)

    def wait(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return until(self.status, found)


@pytest.fixture
def pumps(tmp_path: Path) -> Iterator[Pumps]:
    """Pumps, whose readings nobody has looked at so far."""
    changes = {
        "  monitoring:\n    window: {rows: 200}\n": WATCHED,
        "    entityKey: [reading]\n": "    entityKey: [reading]\n    target: leak\n",
    }
    path = project_of(tmp_path / "pumps", changes)
    file = path.parent / "data" / "rows.csv"
    pd.read_csv(file).assign(leak="").to_csv(file, index=False)
    found = Pumps(path)
    yield found
    found.noria("down")


def test_labels_measure_the_served_version_and_a_rise_of_alarms_is_seen(pumps: Pumps) -> None:
    pumps.noria("train", "-f", pumps.path)
    pumps.noria("up", "-f", pumps.path, "--detach")
    pumps.wait(lambda found: found["champion"] == "1")
    rows = pumps.project.rows.iloc[-3500:].copy()
    leaks = rows.iloc[:500].copy()
    leaks.loc[leaks.index[::20], "pressure"] *= 0.5
    alarms = pumps.ask(leaks)
    assert sum(alarms[::20]) > 20
    assert sum(alarms) - sum(alarms[::20]) < 20
    pumps.label(leaks, [int(place % 20 == 0) for place in range(500)])
    found = pumps.wait(lambda found: found["performance"])
    assert found["performance"]["average-precision"] > 0.8
    assert found["performance"]["auc"] > 0.9
    pumps.ask(rows.iloc[500:2500])
    # Hotter in all modes: each reading alarms, by the same share of reasons.
    pumps.ask(rows.iloc[2500:].assign(temperature=lambda part: part["temperature"] + 30.0))
    drifted = pumps.wait(lambda found: "anomaly" in json.dumps(found["drift"]))
    assert "temperature" in json.dumps(drifted["drift"])
