"""The whole of ``noria up`` on the examples: seconds until it serves, and memory.

The example is copied, its data prepared from a sample of the flights, its first
version trained by ``noria up`` itself. Memory is taken after a replay that fills at
least one window of the monitor, once it no longer changes; it is that of the
supervisor, the proxy, the model server, the monitor and whatever they started, and
what they share counts once.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Final

from tests.bench.aims import AIMS
from tests.bench.harness import ROOT
from tests.bench.rows import Row, row, together_mib

_FRACTION: Final = 0.1
_READY_SECONDS: Final = 300
_SETTLE_SECONDS: Final = 30.0
_STEADY: Final = 0.01


def delay_minutes() -> list[Row]:
    """Measure the regression from Parquet files, watched by native detectors."""
    with _example("delay-minutes") as folder:
        with _up(folder) as first:
            memory = _memory(folder, "2013-02-01", "2013-02-15")
        with _up(folder) as again:
            pass
    return [
        row("up.ready.seconds", first, "s"),
        row("up.restart.seconds", again, "s"),
        row("up.rss.mb", memory, "MiB", AIMS["up.rss.mb"].at_most),
    ]


def flights() -> list[Row]:
    """Measure the classification with Feast lookups, watched by Alibi Detect (so torch)."""
    with _example("flights") as folder, _up(folder) as ready:
        memory = _memory(folder, "2013-02-01", "2013-05-01")
    return [
        row("up.flights.ready.seconds", ready, "s"),
        row("up.flights.rss.mb", memory, "MiB", AIMS["up.flights.rss.mb"].at_most),
    ]


@contextmanager
def _example(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        copytree(ROOT / "examples" / name, folder, ignore=ignore_patterns("data", ".noria"))
        spec = importlib.util.spec_from_file_location("data_of_example", folder / "data.py")
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{folder / 'data.py'} can't be loaded")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.prepare(folder, fraction=_FRACTION, seed=0)
        yield folder


@contextmanager
def _up(folder: Path) -> Iterator[float]:
    """Run ``noria up`` in the folder; yields the seconds until the model was served."""
    home = folder / ".noria"
    began = time.perf_counter()
    try:
        _noria("up", "--detach", "--timeout", str(_READY_SECONDS), folder=folder, file=True)
        yield time.perf_counter() - began
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{error}\n{(home / 'up.log').read_text()[-2000:]}") from error
    finally:
        _noria("down", folder=folder)


def _noria(*arguments: str, folder: Path, file: bool = False) -> str:
    """Run a command on the folder's model; what it says on stderr is seen when the part fails."""
    command = [sys.executable, "-m", "noria.cli", *arguments, "--home", str(folder / ".noria")]
    if file:
        command += ["-f", str(folder / "model.yaml")]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _memory(folder: Path, start: str, end: str) -> float:
    """Return the MiB of everything that runs, after a replay and once it holds still."""
    seen = ("--seen", "mark")
    _noria("replay", "--start", start, "--end", end, *seen, folder=folder, file=True)
    deadline = time.monotonic() + _SETTLE_SECONDS
    before, now = 0.0, together_mib(_processes(folder))
    while abs(now - before) > _STEADY * now and time.monotonic() < deadline:
        time.sleep(2)
        before, now = now, together_mib(_processes(folder))
    return now


def _processes(folder: Path) -> list[int]:
    """Return the ids of the supervisor, of what it lists, and of everything they started."""
    supervisor = json.loads((folder / ".noria" / "up.json").read_text())["pid"]
    (model,) = json.loads(_noria("status", "--json", folder=folder))["models"]
    listed = re.findall(r"pid (\d+)", " ".join(model["processes"]))
    pids = {int(supervisor), *map(int, listed)}
    numbered = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    parents = {int(entry.name): _parent(entry) for entry in numbered}
    while more := {pid for pid, parent in parents.items() if parent in pids} - pids:
        pids |= more
    return sorted(pids)


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
