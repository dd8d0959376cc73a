"""One measured figure, and how memory is read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypedDict

MIB: Final = 2**20


class Row(TypedDict):
    """A figure of ``bench.json``; ``ratio`` is value / baseline, None without a baseline."""

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None


def row(name: str, value: float, unit: str, baseline: float | None = None) -> Row:
    """Return a figure with its ratio."""
    ratio = value / baseline if baseline else None
    return {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio}


def resident_mib(pid: int) -> float:
    """Return the resident set of a process, in MiB."""
    return _kib(Path(f"/proc/{pid}/status"), "VmRSS:") * 1024 / MIB


def proportional_mib(pids: Iterable[int]) -> float:
    """Return the memory of processes together (PSS, MiB): a page they share counts once."""
    return sum(_kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids) * 1024 / MIB


def _kib(file: Path, key: str) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])
