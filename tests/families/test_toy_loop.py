"""A family of another distribution in the whole loop: nothing of Noria's names it.

Texts come in and a list of two named targets goes out; people's feedback and a judge label them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TARGETS = ("pleasant", "lively")
WORDS = {
    "fine": (1, 0),
    "calm": (1, -1),
    "Great": (2, 1),
    "the": (0, 0),
    "poor": (-1, 0),
    "Wild": (0, 2),
}
ODD = {"Odd": (3, -2)}
JUDGE = "judge:words"
WATCHED = """
  serving:
    canary:
      steps: [50]
      minSamples: 20
      analysis:
        - {metric: error-rate, max: 0.1}
        - {metric: mae, max: 1}
        - {metric: within-half, min: 0.7}
  monitoring:
    window: {rows: 200}
    detectors: [{name: mood, kind: ks, watch: prediction}]
    performance:
      {metrics: [mae, r2, within-half], window: {rows: 200}, sources: [feedback]}
"""


KEPT = """
    served: {retention: 36500d}
    features: [{name: text, type: text}]
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

    def until(
        self, seen: Callable[[dict[str, Any]], bool], *, words: Sequence[str] | None = None
    ) -> None:
        """Wait until the status is as wanted; with ``words`` send texts of them meanwhile."""
        deadline = time.monotonic() + 240
        while not seen(found := self.status()):
            assert time.monotonic() < deadline, found
            if words is not None:
                self.send(60, words)

    @property
    def monitor(self) -> str:
        ready = self.folder / ".noria" / "monitor" / "mood" / "ready.json"
        return str(json.loads(ready.read_text())["url"])

    def watched(self) -> dict[str, Any]:
        """What the monitor says, of all that it has got."""
        httpx.post(f"{self.monitor}/flush", timeout=60).raise_for_status()
        return dict(httpx.get(f"{self.monitor}/models/mood/status").raise_for_status().json())

    def page(self) -> str:
        """The model's page, of `noria ui`."""
        ready = self.folder / "page.json"
        home = str(self.folder / ".noria")
        command = [*(sys.executable, "-m", "noria.cli", "ui", "--port", "0"), "--read-only"]
        with subprocess.Popen(
            [*command, "--ready-file", str(ready)],
            env={**os.environ, "PYTHONPATH": str(self._site), "NORIA_HOME": home},
            stdout=subprocess.DEVNULL,
        ) as process:
            while not ready.exists():
                assert process.poll() is None
                time.sleep(0.02)
            url = json.loads(ready.read_text())["url"]
            found = httpx.get(f"{url.rstrip('/')}/models/mood", timeout=60).raise_for_status().text
            process.terminate()
        return found

    def send(
        self,
        texts: int,
        words: Sequence[str] = tuple(WORDS),
        more: Mapping[str, tuple[int, int]] = {},
    ) -> None:
        """Ask about texts of some words, twenty at a time.

        A judge, which is a rule that counts words and knows half of what they mean, rates each at
        once; people tell what is so of every text, by the targets' names. ``more`` is what further
        words mean.
        """
        meaning = {**WORDS, **more}
        server = self.status()["url"]
        for _ in range(texts // 20):
            asked = [self._random.choices(words, k=4) for _ in range(20)]
            data = [" ".join(text) for text in asked]
            tensor = {"name": "text", "shape": [20], "datatype": "BYTES", "data": data}
            request = {"id": f"r{self._sent}", "inputs": [tensor]}
            httpx.post(f"{server}/infer", json=request).raise_for_status()
            truth = [[sum(meaning[word][i] for word in text) for i in range(2)] for text in asked]
            self._tell(lambda row, truth=truth: [value / 2 for value in truth[row]], JUDGE)
            self._tell(lambda row, truth=truth: truth[row], "feedback")
            self._sent += 1

    def say(self, text: str) -> list[float]:
        """What is answered about one text."""
        found = json.loads(self.noria("predict", "mood", "--row", f"text={text}"))
        return [float(value) for value in found["predictions"][0]]

    def _tell(self, rating: Callable[[int], list[float]], source: str) -> None:
        labels = [
            {"id": f"r{self._sent}:{row}", "label": value, "target": name, "source": source}
            for row in range(20)
            for name, value in zip(TARGETS, rating(row), strict=True)
        ]
        body = {"model": "mood", "labels": labels}
        answer = httpx.post(f"{self.monitor}/feedback", json=body).raise_for_status()
        assert answer.json() == {"accepted": 40, "duplicates": 0}


@pytest.fixture
def mood(toy: Path, tmp_path: Path) -> Iterator[Mood]:
    yield from up(Mood(tmp_path, toy), "")


@pytest.fixture
def learning(toy: Path, tmp_path: Path) -> Iterator[Mood]:
    """The same, which learns from what it served."""
    yield from up(Mood(tmp_path, toy), KEPT)


def up(project: Mood, data: str) -> Iterator[Mood]:
    """Make the project, with more in ``spec.data``, and start it."""
    project.noria("init", "mood", "--family", "toy-text")
    folder = project.folder / "mood"
    subprocess.run([sys.executable, str(folder / "data.py")], check=True)
    model = folder / "model.yaml"
    text = model.read_text().replace("  data:\n", "  data:\n" + data.lstrip("\n"))
    model.write_text(text + WATCHED.lstrip("\n"))
    project.noria("up", "-f", "mood/model.yaml", "--detach")
    yield project
    project.noria("down")


def test_the_toy_is_served_watched_retrained_and_promoted(mood: Mood) -> None:
    (said,) = json.loads(mood.noria("predict", "mood", "--row", "text=Great calm the the"))[
        "predictions"
    ]
    assert said == pytest.approx([3, 0], abs=0.3)
    file = mood.folder / "texts.json"
    file.write_text(json.dumps([{"text": "poor poor the the"}, {"text": "Wild Great Wild the"}]))
    batch = json.loads(mood.noria("predict", "mood", "--file", str(file)))["predictions"]
    assert batch[0] == pytest.approx([-2, 0], abs=0.3)
    assert batch[1] == pytest.approx([2, 5], abs=0.3)
    # Four windows teach what the prediction looks like; the fifth is no news.
    mood.send(1200)
    mood.until(lambda found: found["drift"] == [] and found["performance"])
    # Measured by people's labels alone: the judge knows half of what is so.
    assert mood.status()["performance"]["mae"] < 0.3
    # So is the family's own metric.
    assert 0.7 < mood.status()["performance"]["within-half"] <= 1
    watched = mood.watched()
    assert watched["targets"] == list(TARGETS)
    assert watched["counts"]["sources"] == {"feedback": 2400, JUDGE: 2400}
    parts = watched["performance"][watched["champion"]]["parts"]
    assert {metric: list(of) for metric, of in parts.items()} == {
        "mae": list(TARGETS),
        "r2": list(TARGETS),
    }
    metrics = httpx.get(f"{mood.monitor}/metrics").text
    assert f'noria_monitor_source_labels_total{{model="mood",source="{JUDGE}"}} 2400.0' in metrics
    page = mood.page()
    assert "within-half" in page
    assert all(f'<th scope="row" lang="en">{name}</th>' in page for name in TARGETS)
    wrong = {"id": "r0:0", "label": 1, "target": "funny"}
    refused = httpx.post(f"{mood.monitor}/feedback", json={"model": "mood", "labels": [wrong]})
    assert refused.status_code == 400
    assert "send one of ['pleasant', 'lively']" in refused.json()["error"]
    mood.send(400, ("poor", "Wild"))
    mood.until(lambda found: any("mood" in one for one in found["drift"] or ()))
    mood.noria("rollout", "retrain", "mood")
    mood.until(lambda found: int(found["champion"]) > 1, words=tuple(WORDS))
    why = mood.noria("why", "mood", "--last", "0")
    assert "is the champion" in why
    # The canary was judged by what people said of its targets.
    assert "mae" in why
    assert "within-half" in why


def test_the_toy_learns_both_targets_of_what_it_served(learning: Mood) -> None:
    # A word that its source has not: what it means people alone have told.
    assert learning.say("Odd the the the") != pytest.approx([3, -2], abs=1)
    learning.send(400, (*WORDS, "Odd"), ODD)
    learning.until(lambda _: learning.watched()["counts"]["joined"] == 400)
    assert learning.watched()["counts"]["dropped"]["unkept"] == 0
    assert json.loads(learning.noria("data", "mood", "stats", "--json"))["rows"] == 400
    learning.noria("data", "mood", "export", "--out", "kept.parquet")
    rows = pq.read_table(learning.folder / "kept.parquet").to_pylist()
    assert {row["noria.label_source.lively"] for row in rows} == {"feedback"}
    for row in rows:
        words = [{**WORDS, **ODD}[word] for word in row["text"].split()]
        assert [row[name] for name in TARGETS] == [sum(word[i] for word in words) for i in (0, 1)]
    learning.noria("rollout", "retrain", "mood")
    learning.until(lambda found: int(found["champion"]) > 1, words=tuple(WORDS))
    assert learning.say("Odd the the the") == pytest.approx([3, -2], abs=0.3)
