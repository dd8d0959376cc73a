"""The examples with models of their own, as a person runs them: trained, served, asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from noria.spec import load_model

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Project:
    """A copy of an example, and the commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def noria(self, *words: str, stdin: str = "") -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "noria.cli", *words],
            cwd=self.folder,
            env={**os.environ, "NORIA_HOME": str(self.folder / ".noria")},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr
        return ran.stdout


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    folder = Path(shutil.copytree(EXAMPLES / request.param, tmp_path / request.param))
    made = Project(folder)
    yield made
    made.noria("down")


@pytest.mark.parametrize("project", ["digits"], indirect=True)
def test_digits_are_told_by_the_class_of_the_example(project: Project) -> None:
    assert "valid" in project.noria("validate", "-f", "model.yaml")
    project.noria("up", "-f", "model.yaml", "--detach")
    rows = pd.read_parquet(project.folder / "data" / "digits.parquet").tail(50)
    names = load_model(project.folder / "model.yaml").spec.data.request_columns()
    asked = rows[list(names)].to_json(orient="records", date_format="iso")
    said = json.loads(project.noria("predict", "digits", "--file", "-", stdin=asked))
    predictions = said["predictions"]
    assert all(len(one["probability"]) == 10 for one in predictions)
    right = [one["label"] == digit for one, digit in zip(predictions, rows["digit"], strict=True)]
    assert sum(right) >= 45  # the version learnt from them as well
    assert (len((project.folder / "model.py").read_text().splitlines())) <= 60


@pytest.mark.parametrize("project", ["own-script"], indirect=True)
def test_the_script_of_the_example_trains_what_is_served(project: Project) -> None:
    project.noria("up", "-f", "model.yaml", "--detach")
    row = {"distance_km": 300, "weight_kg": 2, "ordered": "2026-03-02T10:00:00Z", "parcel": "P1"}
    hours = {}
    for service in ("express", "freight"):
        words = [f"--row={name}={value}" for name, value in {**row, "service": service}.items()]
        said = json.loads(project.noria("predict", "own-script", *words))
        hours[service] = said["predictions"][0]
    # 8 or 40 hours, and 300 km at 18 km/h, 2 kg, and 6 hours by chance, on a Monday.
    assert hours["express"] == pytest.approx(31.7, abs=6)
    assert hours["freight"] == pytest.approx(63.7, abs=6)
