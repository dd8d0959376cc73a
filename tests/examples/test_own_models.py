"""The examples with models of their own, as a person runs them: trained, served, asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml

from noria.spec import load_model
from noria.tasks.sources.files import load_module

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(800)]


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

    def ask(self, rows: pd.DataFrame) -> Any:
        """Return what is predicted of rows."""
        asked = rows.to_json(orient="records", date_format="iso")
        return json.loads(self.noria("predict", "digits", "--file", "-", stdin=asked))


def drift_of(project: Project, wanted: str) -> list[str]:
    """Return what `noria status` says of drift, once it says what is wanted."""
    deadline = time.monotonic() + 180
    while True:
        (model,) = json.loads(project.noria("status", "--json"))["models"]
        drift: list[str] | None = model["drift"]
        said = ["no drift"] if drift == [] else drift or []
        if any(wanted in one for one in said):
            return drift or []
        assert time.monotonic() < deadline, model
        time.sleep(0.5)


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
    said = project.ask(rows[list(names)])
    predictions = said["predictions"]
    assert all(len(one["probability"]) == 10 for one in predictions)
    right = [one["label"] == digit for one, digit in zip(predictions, rows["digit"], strict=True)]
    assert sum(right) >= 45  # the version learnt from them as well
    assert (len((project.folder / "model.py").read_text().splitlines())) <= 60
    # Watched as one vector: as many as make two windows of 300 are no news, turned ones are.
    images = pd.read_parquet(project.folder / "data" / "digits.parquet").sample(550, random_state=0)
    project.ask(images[list(names)])
    assert drift_of(project, "no drift") == []
    turned = images.head(300).assign(
        image=[np.rot90(one.reshape(8, 8)).ravel() for one in images["image"].head(300)]
    )
    project.ask(turned[list(names)])
    assert "images" in drift_of(project, "images")[0]


@pytest.mark.parametrize("project", ["digits"], indirect=True)
def test_turned_digits_are_learnt_from_the_labels_that_come_back(project: Project) -> None:
    load_module(project.folder / "data.py").prepare(project.folder)
    source = project.folder / "data" / "digits.parquet"
    rows = pd.read_parquet(source)
    # The source ends before the first scan that is turned, and never grows.
    rows.head(1050).to_parquet(source, index=False)
    turned = rows.tail(747)
    image = [np.rot90(one.reshape(8, 8)).ravel() for one in turned["image"]]
    turned.assign(image=image).to_parquet(project.folder / "turned.parquet", index=False)
    file = project.folder / "model.yaml"
    model = yaml.safe_load(file.read_text())
    model["spec"]["data"]["served"] = {"use": "with-source"}
    model["spec"]["monitoring"]["performance"] = {"window": {"rows": 200}}
    file.write_text(yaml.safe_dump(model))
    start = f"{turned['scanned'].min():%Y-%m-%dT%H:%M:%S}"
    stream = ("--rows", "turned.parquet", "--start", start, "--predictions", "said.parquet")
    project.noria("replay", "-f", "model.yaml", "--clock", "event", *stream)

    said = pd.read_parquet(project.folder / "said.parquet")
    right = (said["label"] == said["model.label"]).groupby(said["version"]).mean()
    newest = max(right.index, key=int)
    assert right["1"] < 0.3
    assert right[newest] > 0.7
    kept = json.loads(project.noria("data", "digits", "stats", "--json"))
    assert kept["rows"] == kept["labelled"] == 747
    project.noria("export", "digits", "--out", "windows")
    windows = pd.read_parquet(project.folder / "windows" / "windows.parquet")
    assert windows[windows["name"] == "images"]["alarm"].any()
    last = json.loads(windows[windows["stream"] == f"performance/{newest}"]["body"].iloc[-1])
    by_digit = last["parts"]["f1"]
    assert list(by_digit) == [str(digit) for digit in range(10)]
    assert np.mean(list(by_digit.values())) == pytest.approx(last["metrics"]["f1"]["value"])


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


@pytest.mark.parametrize("project", ["cart-pole"], indirect=True)
def test_the_policy_that_passed_by_its_return_keeps_poles_up_when_served(project: Project) -> None:
    import gymnasium

    said = project.noria("train", "-f", "model.yaml")
    assert re.search(r"return-min +pass +return 500 \(49\d\.?\d* to 500\) is at least 400", said), (
        said
    )
    project.noria("up", "-f", "model.yaml", "--detach")
    (model,) = json.loads(project.noria("status", "--json"))["models"]
    lengths = np.array([0.45, 0.55, 1.7, 2.1])
    carts = gymnasium.make_vec(
        "CartPole-v1", num_envs=4, vectorization_mode="vector_entry_point"
    ).unwrapped
    state, _ = carts.reset(seed=1)
    carts.length, carts.polemass_length = lengths, carts.masspole * lengths
    names = ("position", "velocity", "angle", "angular_velocity")
    with httpx.Client(timeout=120, trust_env=False) as client:
        for step in range(200):
            rows = [
                dict(zip(names, map(float, one), strict=True))
                | {"pole_length": length, "moment": f"S{step}-{place}", "at": 1_800_000_000_000}
                for place, (one, length) in enumerate(zip(state, lengths, strict=True))
            ]
            url = f"{model['url'].replace('/v2/models/', '/v1/models/')}:predict"
            answer = client.post(url, json={"instances": rows})
            assert answer.status_code == 200, answer.text
            pushes = [one["label"] == "right" for one in answer.json()["predictions"]]
            state, _, fallen, _, _ = carts.step(np.array(pushes, dtype=np.int64))
            assert not fallen.any(), f"fell after {step} steps: {lengths[fallen]}"
