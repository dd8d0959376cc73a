"""Two families whose samples are no rows: one judged by a ranking metric, one by a span metric."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.families.installed import SAMPLES, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FAMILIES = {"finder": ("toy-search", "ndcg-at-10"), "names": ("toy-names", "span-f1")}
NUMBER = r"[+-]?\d(?:\.\d+)?(?:e-\d+)?"


class Projects:
    """Two models in one home, and their commands."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder, self._site = folder, site

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

    def texts(self, name: str, count: int) -> None:
        """Write the first texts of a model's file."""
        subprocess.run([sys.executable, f"{name}/data.py", str(count)], cwd=self.folder, check=True)

    def until(self, name: str, seen: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until a model's status is as wanted, and return it."""
        deadline = time.monotonic() + 240
        while True:
            models = json.loads(self.noria("status", "--json"))["models"]
            (found,) = (model for model in models if model["name"] == name)
            if seen(found):
                return dict(found)
            assert time.monotonic() < deadline, found

    def cards(self, name: str) -> list[str]:
        """The cards of a model's versions, the first first."""
        paths = (self.folder / ".noria" / "artifacts" / name).rglob("model_card.md")
        return [path.read_text() for path in sorted(paths, key=lambda path: path.stat().st_mtime)]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projects]:
    folder = tmp_path_factory.mktemp("samples")
    made = Projects(folder, installed(tmp_path_factory.mktemp("site"), SAMPLES))
    for name, (family, _) in FAMILIES.items():
        made.noria("init", name, "--family", family)
        made.texts(name, 600)
    files = [word for name in FAMILIES for word in ("-f", f"{name}/model.yaml")]
    made.noria("up", *files, "--detach")
    yield made
    made.noria("down")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_of_such_samples_passes_the_suite(projects: Projects, name: str) -> None:
    assert "checks passed" in projects.noria("family", "check", FAMILIES[name][0])


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_gated_and_promoted_by_its_metric(projects: Projects, name: str) -> None:
    metric = FAMILIES[name][1]
    found = projects.until(name, lambda found: found["champion"] == "1" and found["unmeasured"])
    assert found["unmeasured"] == f"none: labels of rows can't measure {metric}"
    projects.texts(name, 3000)
    projects.noria("rollout", "retrain", name)
    projects.until(name, lambda found: found["candidate"] == "2")
    projects.noria("rollout", "promote", name)
    projects.until(name, lambda found: found["champion"] == "2")

    why = projects.noria("why", name)
    interval = rf"{metric} ({NUMBER}) \(({NUMBER}) to ({NUMBER})\) is at least 0.5"
    value, low, high = map(float, re.search(interval, why).groups())  # type: ignore[union-attr]
    assert 0.5 < low < value < high < 1
    against = rf"{metric} {NUMBER} against the champion's {NUMBER}: better by ({NUMBER}), from"
    gain = re.search(rf"{against} ({NUMBER}) to ({NUMBER})", why)
    assert gain is not None, why
    assert 0 < float(gain[2]) < float(gain[1]) < float(gain[3])

    first, second = projects.cards(name)
    assert f"- **Task**: {FAMILIES[name][0]}\n" in first
    assert "There was no champion to compare with." in first
    assert re.search(
        rf"\| {metric} \| {NUMBER} \| {NUMBER} to {NUMBER} \(95%\) \| 600 \| - \| influence \|",
        second,
    )
    assert re.search(rf"\| {metric} \|.*\| 600 \| paired influence \|", second)
