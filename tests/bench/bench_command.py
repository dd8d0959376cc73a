"""Wall seconds of ``noria --help``, a fresh process each time."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench.aims import AIMS
from tests.bench.rows import Row, row

_TIMES: Final = 7


def run() -> list[Row]:
    """Measure the installed command, after one run that fills the caches."""
    command = [str(Path(sys.executable).with_name("noria")), "--help"]
    seconds = [_seconds(command) for _ in range(_TIMES + 1)][1:]
    return [row("cli.help", statistics.median(seconds), "s", AIMS["cli.help"].at_most)]


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
