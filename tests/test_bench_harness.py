"""The harness of ``make bench``, with parts that measure nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.aims import Aim
from tests.bench.harness import bench
from tests.bench.parts import PARTS, Part

GOOD = Part("fake_bench:good", ("fake.fast", "fake.slow"), 1)
BROKEN = Part("fake_bench:broken", ("broken.",), 1)
AIMS = {"fake.fast": Aim("ratio", 0.5), "fake.slow": Aim("value", 3.0)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "fake_bench.py").write_text(
        "from tests.bench.rows import row\n"
        "def good():\n"
        "    yield row('fake.fast', 2.0, 'us', 8.0)\n"
        "    yield row('fake.slow', 4.0, 's')\n"
        "def broken():\n"
        "    raise RuntimeError('the disk is full')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Run(tmp_path / "bench.json")


class Run:
    """Runs the harness and keeps what it printed and wrote."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._screen = io.StringIO()

    def __call__(self, *parts: Part, only: str = "") -> int:
        console = Console(file=self._screen, width=120)
        return bench(parts, AIMS, only, self._file, console)

    @property
    def said(self) -> str:
        return self._screen.getvalue()

    @property
    def written(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self._file.read_text())
        return found


def test_figures_are_written_and_held_against_their_aims(run: Run) -> None:
    assert run(GOOD) == 0
    assert run.written == [
        {"name": "fake.fast", "value": 2.0, "unit": "us", "baseline": 8.0, "ratio": 0.25},
        {"name": "fake.slow", "value": 4.0, "unit": "s", "baseline": None, "ratio": None},
    ]
    fast, slow = (line for line in run.said.splitlines() if "│ fake." in line)
    assert "met" in fast
    assert "missed" in slow
    assert "load average" in run.said


def test_a_part_that_fails_is_told_and_does_not_stop_the_others(run: Run) -> None:
    assert run(BROKEN, GOOD) == 1
    assert [row["name"] for row in run.written] == ["fake.fast", "fake.slow"]
    assert "FAILED: broken." in run.said
    assert "RuntimeError: the disk is full" in run.said


def test_only_runs_and_writes_what_begins_so(run: Run) -> None:
    assert run(BROKEN, GOOD, only="fake.s") == 0
    assert [row["name"] for row in run.written] == ["fake.slow"]


def test_an_unknown_prefix_is_refused_with_the_known_ones(run: Run) -> None:
    assert run(GOOD, only="nothing") == 2
    assert "fake.fast" in run.said


def test_every_part_of_the_benchmark_has_names_of_its_own() -> None:
    names = [name for part in PARTS for name in part.names]
    assert len(set(names)) == len(names)
