"""Several labels of one row in the whole loop: trained, served, labelled by name, watched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, hamming_loss, roc_auc_score

from noria.tasks.families import template
from tests.multilabel.conftest import LABELS
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WATCHED = """  monitoring:
    window: {rows: 500}
    performance: {window: {rows: 500}}
  retraining: {signals: [performance]}
"""
ROWS = 500


class Tickets:
    """The template's project, and its commands."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        for name, text in template("multi-label").items():
            text = text.replace("$name", "tickets")
            text = text.split("  monitoring:\n")[0] + WATCHED if name == "model.yaml" else text
            (folder / name).write_text(text)
        subprocess.run([sys.executable, "data.py"], cwd=folder, check=True)

    def noria(self, *words: object) -> str:
        home = str(self.folder / "home")
        command = [sys.executable, "-m", "noria.cli", *map(str, words), "--home", home]
        ran = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def status(self) -> dict[str, Any]:
        (found,) = json.loads(self.noria("status", "--json"))["models"]
        return dict(found)

    def ask(self, identity: str, rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """Return the outputs by name."""
        datatypes = {"channel": "BYTES", "product": "BYTES", "words": "FP64", "days_owned": "FP64"}
        tensors = [
            {"name": name, "shape": [len(rows)], "datatype": kind, "data": rows[name].tolist()}
            for name, kind in {**datatypes, "arrived": "BYTES"}.items()
        ]
        body = {"id": identity, "inputs": tensors}
        answer = httpx.post(f"{self.status()['url']}/infer", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return {one["name"]: one for one in answer.json()["outputs"]}

    def tell(self, labels: list[dict[str, Any]]) -> httpx.Response:
        ready = self.folder / "home" / "monitor" / "tickets" / "ready.json"
        url = json.loads(ready.read_text())["url"]
        body = {"model": "tickets", "labels": labels}
        return httpx.post(f"{url}/feedback", json=body, timeout=60)


@pytest.fixture
def tickets(tmp_path: Path) -> Iterator[Tickets]:
    found = Tickets(tmp_path / "tickets")
    yield found
    found.noria("down")


def test_labels_by_name_are_measured_as_scikit_learn_does(tickets: Tickets) -> None:
    tickets.noria("train", "-f", "model.yaml")
    tickets.noria("up", "-f", "model.yaml", "--detach")
    until(tickets.status, lambda found: found["champion"] == "1")
    row = ["channel=call", "product=phone", "words=80", "days_owned=12"]
    words = [word for one in row for word in ("--row", one)]
    said = tickets.noria("predict", "tickets", *words, "--row", "arrived=2026-03-02T09:00:00Z")
    (one,) = json.loads(said)["predictions"]
    assert len(one["prediction"]) == len(one["label"]) == len(LABELS)
    # Whoever bought it twelve days ago wants a refund, and whoever calls is in a hurry.
    assert one["label"][:2] == [1, 1]

    rows = pd.read_csv(tickets.folder / "data" / "rows.csv").iloc[-ROWS:]
    answer = tickets.ask("desk", rows)
    assert answer["prediction"]["shape"] == [ROWS, len(LABELS)]
    scores, called = (
        np.array(answer[name]["data"]).reshape(ROWS, len(LABELS))
        for name in ("prediction", "label")
    )
    truth = rows[list(LABELS)].to_numpy()
    by_name = [
        {"id": f"desk:{row}", "target": name, "label": int(truth[row, place])}
        for row in range(ROWS // 2)
        for place, name in enumerate(LABELS)
    ]
    at_once = [
        {"id": f"desk:{row}", "label": truth[row].tolist()} for row in range(ROWS // 2, ROWS)
    ]
    for some in (by_name, at_once):
        taken = tickets.tell(some)
        assert taken.status_code == 200, taken.text
    found = until(tickets.status, lambda found: found["performance"])["performance"]
    assert found["micro-f1"] == pytest.approx(f1_score(truth, called, average="micro"))
    assert found["f1"] == pytest.approx(f1_score(truth, called, average="macro"))
    assert found["auc"] == pytest.approx(roc_auc_score(truth, scores, average="macro"))
    assert found["hamming-loss"] == pytest.approx(hamming_loss(truth, called))
    assert found["subset-accuracy"] == pytest.approx((truth == called).all(axis=1).mean())
    unknown = tickets.tell([{"id": "desk:0", "target": "rude", "label": 1}])
    assert unknown.status_code == 400
    assert "rude" in unknown.text
