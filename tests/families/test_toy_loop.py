"""A family of another distribution in the whole loop: nothing of Noria's names it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = {True: ("fine", "great", "Nice", "the"), False: ("poor", "dull", "Awful", "the")}
WATCHED = """
  serving:
    canary: {steps: [50], minSamples: 20, analysis: [{metric: error-rate, max: 0.1}]}
  monitoring:
    window: {rows: 200}
    detectors: [{name: mood, kind: ks, watch: prediction}]
    performance: {metrics: [accuracy, auc], window: {rows: 200}}
"""


class Mood:
    """A project of the toy, its commands, and who asks it."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder = folder
        self._site = site
        self._random = random.Random(0)
        self._sent = 0

    def noria(self, *words: str) -> str:
        home = str(self.folder / ".noria")
        ran = subprocess.run(
            [sys.executable, "-m", "noria.cli", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self._site), "NORIA_HOME": home},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def status(self) -> dict[str, Any]:
        (found,) = json.loads(self.noria("status", "--json"))["models"]
        return dict(found)

    def until(self, seen: Callable[[dict[str, Any]], bool], *, share: float | None = None) -> None:
        """Wait until the status is as wanted; with ``share`` send texts meanwhile."""
        deadline = time.monotonic() + 240
        while not seen(found := self.status()):
            assert time.monotonic() < deadline, found
            if share is not None:
                self.send(60, share)

    def send(self, texts: int, good: float) -> None:
        """Ask about texts of which a share is good, twenty at a time, and tell their labels."""
        server = self.status()["url"]
        ready = self.folder / ".noria" / "monitor" / "mood" / "ready.json"
        monitor = json.loads(ready.read_text())["url"]
        for _ in range(texts // 20):
            labels = [self._random.random() < good for _ in range(20)]
            data = [self._text(label) for label in labels]
            tensor = {"name": "text", "shape": [20], "datatype": "BYTES", "data": data}
            request = {"id": f"r{self._sent}", "inputs": [tensor]}
            httpx.post(f"{server}/infer", json=request).raise_for_status()
            told = [{"id": f"r{self._sent}:{i}", "label": said} for i, said in enumerate(labels)]
            body = {"model": "mood", "labels": told}
            httpx.post(f"{monitor}/feedback", json=body).raise_for_status()
            self._sent += 1

    def _text(self, good: bool) -> str:
        words = [self._random.choice(WORDS[good]) for _ in range(3)]
        return " ".join([*words, self._random.choice(WORDS[False])])


@pytest.fixture
def mood(toy: Path, tmp_path: Path) -> Iterator[Mood]:
    project = Mood(tmp_path, toy)
    project.noria("init", "mood", "--family", "toy-text")
    subprocess.run([sys.executable, str(tmp_path / "mood" / "data.py")], check=True)
    with (tmp_path / "mood" / "model.yaml").open("a") as file:
        file.write(WATCHED.lstrip("\n"))
    project.noria("up", "-f", "mood/model.yaml", "--detach")
    yield project
    project.noria("down")


def test_the_toy_is_served_watched_retrained_and_promoted(mood: Mood) -> None:
    said = json.loads(mood.noria("predict", "mood", "--row", "text=great fine great"))
    assert said["predictions"][0] > 0.9
    file = mood.folder / "texts.json"
    file.write_text(json.dumps([{"text": "dull poor dull"}, {"text": "fine great fine"}]))
    batch = json.loads(mood.noria("predict", "mood", "--file", str(file)))["predictions"]
    assert batch[0] < 0.1 < 0.9 < batch[1]
    # Four windows teach what the prediction looks like; the fifth is no news.
    mood.send(1200, 0.5)
    mood.until(lambda found: found["drift"] == [] and found["performance"])
    assert mood.status()["performance"]["accuracy"] > 0.9
    mood.send(400, 0.05)
    mood.until(lambda found: any("mood" in one for one in found["drift"] or ()))
    mood.noria("rollout", "retrain", "mood")
    mood.until(lambda found: int(found["champion"]) > 1, share=0.5)
    assert "is the champion" in mood.noria("why", "mood", "--last", "0")
