"""CPU and memory of a first ``noria train`` of a table: a small, a long and a wide one.

CPU seconds are those of the command and of every process that it started, memory is that
of the largest of them, as the kernel tells whoever waits for the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.aims import AIMS
from tests.bench.rows import Row, row
from tests.bench.table import project

_SIZES: Final = {"first": (1000, 9), "long": (1_000_000, 19), "wide": (10_000, 999)}
"""Rows, and columns of numbers; a category comes beside."""
_KIB_OF_MIB: Final = 1024


def run() -> list[Row]:
    """Measure each once, in a home of its own."""
    rows: list[Row] = []
    for name, (count, numbers) in _SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            project(Path(folder), count, numbers)
            used = _trained(Path(folder))
        for figure, value, unit in (
            (f"train.{name}.cpu", used.ru_utime + used.ru_stime, "s"),
            (f"train.{name}.rss.mb", used.ru_maxrss / _KIB_OF_MIB, "MiB"),
        ):
            aim = AIMS.get(figure)
            rows.append(row(figure, value, unit, None if aim is None else aim.at_most))
    return rows


def _trained(base: Path) -> os.struct_rusage:
    """Train, and return what that used."""
    noria = str(Path(sys.executable).with_name("noria"))
    command = [noria, "train", "-f", str(base / "model.yaml"), "--home", str(base / "home")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"noria train ended with {process.returncode}")
    return used
