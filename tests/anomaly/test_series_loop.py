"""Values of series in the whole loop: trained, served, asked with their past, labelled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from noria.spec import load_model
from noria.tasks.anomaly.family import LEARNER
from tests.anomaly.test_series import model_document, readings
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OPTIONS = {"alarmRate": 0.02}
NEWEST = 200


def noria(folder: Path, *words: object) -> str:
    command = [sys.executable, "-m", "noria.cli", *map(str, words), "--home", str(folder / "home")]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def status(folder: Path) -> dict[str, Any]:
    (found,) = json.loads(noria(folder, "status", "--json"))["models"]
    return dict(found)


def test_a_planted_anomaly_alarms_with_what_was_expected_and_is_found_by_its_label(
    tmp_path: Path,
) -> None:
    document = model_document(OPTIONS, target="odd")
    document["spec"]["monitoring"] = {
        "performance": {"window": {"rows": 100}, "maxLabelLag": "3650d"}
    }
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(document))
    rows = readings().assign(odd=np.nan)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    noria(tmp_path, "train", "-f", "model.yaml")
    # What comes later, each with its past; every tenth value is planted.
    spec = load_model(tmp_path / "model.yaml").spec
    later = LEARNER.ingest(spec, tmp_path, None).tail(NEWEST).reset_index(drop=True)
    odd = np.arange(NEWEST) % 10 == 0
    size = np.where(later["meter"] == "a", 10.0, 1000.0)
    later["load"] += np.where(odd, 0.5 * size, 0.0)
    noria(tmp_path, "up", "-f", "model.yaml", "--detach")
    try:
        past = np.stack(later["history"].to_numpy())
        tensors = [
            tensor("meter", "BYTES", later["meter"].tolist(), [NEWEST]),
            tensor("at", "BYTES", [at.isoformat() for at in later["at"]], [NEWEST]),
            tensor("load", "FP64", later["load"].tolist(), [NEWEST]),
            tensor("history", "FP64", past.ravel().tolist(), list(past.shape)),
        ]
        url = f"{status(tmp_path)['url']}/infer"
        with httpx.Client(timeout=120, trust_env=False) as client:
            answer = client.post(url, json={"inputs": tensors})
            assert answer.status_code == 200, answer.text
            short = client.post(url, json={"inputs": tensors[:3]})
            assert short.status_code == 400
            assert "history" in short.text
        said = {one["name"]: np.array(one["data"]) for one in answer.json()["outputs"]}
        alarms = said["anomaly"].astype(bool)
        assert alarms[odd].all()
        assert alarms[~odd].mean() < 0.1
        assert ((later["load"] > said["upper"]) == odd)[odd].all()
        file = tmp_path / "labels.csv"
        later.assign(odd=odd.astype(int)).drop(columns="history").to_csv(file, index=False)
        noria(tmp_path, "label", "meters", "--rows", file)
        found = until(
            lambda: status(tmp_path).get("performance") or {},
            lambda one: "average-precision" in json.dumps(one),
        )
        assert found
    finally:
        noria(tmp_path, "down")


def tensor(name: str, datatype: str, data: list[Any], shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
