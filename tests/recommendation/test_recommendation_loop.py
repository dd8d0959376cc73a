"""Recommendations in the whole loop: trained, served, clicked, watched."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from noria.spec import load_model
from noria.tasks.families import template
from noria.tasks.recommendation.family import LEARNER
from noria.tasks.recommendation.items import NOTHING
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WATCHED = """  monitoring:
    window: {rows: 200}
    performance: {window: {rows: 200}}
  retraining: {signals: [performance]}
"""
K = 10


class Books:
    """The template's project, and its commands."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        for name, text in template("recommendation").items():
            text = text.replace("$name", "books")
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

    def wait(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return until(self.status, found)

    def ask(self, identity: str, histories: list[str]) -> dict[str, Any]:
        """Return the outputs by name, (n, k) and (n,)."""
        tensor = {
            "name": "history", "shape": [len(histories)], "datatype": "BYTES", "data": histories
        }  # fmt: skip
        body = {"id": identity, "inputs": [tensor]}
        answer = httpx.post(f"{self.status()['url']}/infer", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return {one["name"]: one["data"] for one in answer.json()["outputs"]}

    def tell(self, labels: list[dict[str, Any]]) -> httpx.Response:
        ready = self.folder / "home" / "monitor" / "books" / "ready.json"
        url = json.loads(ready.read_text())["url"]
        body = {"model": "books", "labels": labels}
        return httpx.post(f"{url}/feedback", json=body, timeout=60)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    found = Books(tmp_path / "books")
    yield found
    found.noria("down")


def test_clicks_are_measured_and_unheard_items_are_seen(books: Books) -> None:
    books.noria("train", "-f", "model.yaml")
    books.noria("up", "-f", "model.yaml", "--detach")
    books.wait(lambda found: found["champion"] == "1")
    one = json.loads(books.noria("predict", "books", "--row", "history=B001|B009"))
    assert len(set(one["predictions"][0]["items"])) == K
    (known,) = json.loads(books.noria("predict", "books", "--row", "reader=R0007"))["predictions"]
    assert known["coldStart"] == ""

    spec = load_model(books.folder / "model.yaml").spec
    rows = LEARNER.ingest(spec, books.folder, None)
    asked = LEARNER.requests(spec, rows, float("-inf"), float("inf")).rows.sort_values("at")
    newest = asked["history"].iloc[-len(asked) // 3 :].sample(200, random_state=0)
    histories = [text or "" for text in newest]
    answer = books.ask("clicked", histories)
    numbers = answer["prediction"]
    # Every second one clicks on the second of the ten, the others on nothing.
    labels = [
        {
            "id": f"clicked:{row}",
            "label": [numbers[row * K + 1] if row % 2 else NOTHING, *[NOTHING] * (K - 1)],
        }
        for row in range(200)
    ]
    assert books.tell(labels).json() == {"accepted": 200 * K, "duplicates": 0}
    found = books.wait(lambda found: found["performance"])["performance"]
    assert found["hit-rate"] == pytest.approx(0.5)
    assert found["recall"] == pytest.approx(0.5)
    assert found["ndcg"] == pytest.approx(0.5 / math.log2(3))
    assert books.status()["drift"] == []
    refused = books.tell([{"id": "clicked:0", "label": "B001"}])
    assert refused.status_code == 400
    assert "10 targets" in refused.text

    books.ask("new", ["unheard|of|B001"] * 200)
    books.wait(lambda found: "unknown" in json.dumps(found["drift"]))
    ran = subprocess.run(
        [sys.executable, "-m", "noria.cli", "label", "books", "--home", books.folder / "home"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "asks again and again" in ran.stderr
