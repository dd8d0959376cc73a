"""Clusters in the whole loop: served, and their shares and distances watched."""

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

from tests.clustering.conftest import Project, project_of
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Shop:
    """A project that is up, and its commands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frame = Project(path).frame

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

    def ask(self, rows: pd.DataFrame) -> None:
        url = self.status()["url"]
        with httpx.Client(timeout=120, trust_env=False) as client:
            for first in range(0, len(rows), 50):
                part = rows.iloc[first : first + 50]
                inputs = [
                    {
                        "name": name,
                        "shape": [len(part)],
                        "datatype": "BYTES" if name == "channel" else "FP64",
                        "data": part[name].tolist(),
                    }
                    for name in ("orders", "basket", "returns", "channel")
                ]
                answer = client.post(f"{url}/infer", json={"inputs": inputs})
                assert answer.status_code == 200, answer.text

    def wait(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return until(self.status, found)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    found = Shop(project_of(tmp_path / "shop", {}))
    yield found
    found.noria("down")


def test_a_shift_of_shares_and_rows_that_lie_far_away_are_told_apart(shop: Shop) -> None:
    trained = shop.noria("train", "-f", shop.path)
    assert "silhouette" in trained
    shop.noria("up", "-f", shop.path, "--detach")
    shop.wait(lambda found: found["champion"] == "1")
    shop.ask(shop.frame.sample(600, random_state=0))
    found = shop.wait(lambda found: not found["drift_note"])
    assert found["drift"] == []
    # More of some kinds, each row as before.
    large = shop.frame[shop.frame["basket"] > 100.0]
    shop.ask(large.sample(600, random_state=0))
    told = shop.wait(lambda found: found["drift"])["drift"]
    assert [one.partition(":")[0] for one in told] == ["clusters"]
    far = shop.frame.sample(600, random_state=1)
    shop.ask(far.assign(orders=far["orders"] + 8.0))
    shop.wait(lambda found: any(one.startswith("distance:") for one in found["drift"]))
    card = next(Path(shop.home).rglob("model_card.md")).read_text()
    assert "## What was found" in card
    assert "cluster-1 (" in card
