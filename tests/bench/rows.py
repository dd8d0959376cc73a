"""One measured figure, and how memory is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def together_mib(pids: Iterable[int]) -> float:
    """Return the memory of processes together, in MiB: what they share counts once.

    Like the sum of their proportional set sizes on a machine with nothing else on it.
    There, a library that strangers have open too would be counted in part only, and
    the figure would depend on what else runs.
    """
    alone, shared = 0, dict[str, int]()
    for pid in pids:
        for file, sizes in _mappings(pid):
            if file is None:
                alone += sizes["Pss"]
                continue
            alone += sizes["Private_Dirty"]
            clean = sizes["Rss"] - sizes["Private_Dirty"]
            shared[file] = max(shared.get(file, 0), clean)
    return (alone + sum(shared.values())) * 1024 / MIB


def _mappings(pid: int) -> Iterator[tuple[str | None, dict[str, int]]]:
    """Return the part of which file each mapping shows, None for memory, and its sizes in KiB."""
    file: str | None = None
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            if sizes:
                yield file, sizes
            _, offset, device, inode, *_ = rest
            file, sizes = None if inode == "0" else f"{device} {inode} {offset}", {}
        elif len(rest) == 2:
            sizes[first[:-1]] = int(rest[0])
    if sizes:
        yield file, sizes


def _kib(file: Path, key: str) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])
