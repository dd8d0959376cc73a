"""``noria predict-batch`` on ten million rows of a table, beside the predictor alone.

The predictor is asked for rows that are in memory already, as many at a time, in one thread; the
command reads them from Parquet, checks them, and writes the answers durably, in one thread too.
Then the command is killed at random moments and started again until it ends.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from os import environ, wait4, waitstatus_to_exitcode
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from tests.bench.aims import AIMS
from tests.bench.rows import Row, row
from tests.bench.table import project

if TYPE_CHECKING:
    import pandas as pd

_ROWS: Final = 10_000_000
_TIMES: Final = 10
_KILLS: Final = 20
_TRAINED: Final = 200_000
_NUMBERS: Final = 19
_CHUNK: Final = 65_536
_KIB_OF_MIB: Final = 1024


def run() -> list[Row]:
    """Train a model, and answer."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        project(base, _TRAINED, _NUMBERS)
        _noria(base, "train", "-f", str(base / "model.yaml"))
        _write(base / "rows", _TIMES, _ROWS // _TIMES)
        bare = _bare(base)
        began = time.perf_counter()
        mib = _noria(base, *_batch(base / "rows", base / "answers"))
        speed = _ROWS / (time.perf_counter() - began)
        kills = _killed(base, _batch(base / "rows", base / "killed"))
        same = _digest(base / "answers") == _digest(base / "killed")
    return [
        row("batch.rows.slower", bare / speed, "x", AIMS["batch.rows.slower"].at_most),
        row("batch.rows.us", 1e6 / speed, "us/row", 1e6 / bare),
        row("batch.rss.mb", mib, "MiB", AIMS["batch.rss.mb"].at_most),
        row("batch.kills", kills, "kills"),
        row("batch.kills.changed", float(not same), "outputs", AIMS["batch.kills.changed"].at_most),
    ]


def _batch(rows: Path, out: Path) -> Sequence[str]:
    given = ("--in", str(rows), "--out", str(out), "--version", "1", "--threads", "1")
    return ("predict-batch", "bench", *given)


def _command(base: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    noria = str(Path(sys.executable).with_name("noria"))
    return subprocess.Popen(
        [noria, *words, "--home", str(base / "home")],
        stdout=subprocess.DEVNULL,
        env={**environ, "OMP_NUM_THREADS": "1"},
    )


def _noria(base: Path, *words: str) -> float:
    """Run a command, and return the memory of its process in MiB."""
    process = _command(base, words)
    _, status, used = wait4(process.pid, 0)
    process.returncode = waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"noria {words[0]} ended with {process.returncode}")
    return used.ru_maxrss / _KIB_OF_MIB


def _killed(base: Path, words: Sequence[str]) -> int:
    """Run a command until it ends, killed at random moments; return how often it was."""
    kills, chance = 0, random.Random(0)
    while True:
        process = _command(base, words)
        if kills < _KILLS:
            try:
                process.wait(chance.uniform(0.5, 3.5))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                continue
        if process.wait():
            raise RuntimeError(f"the batch ended with {process.returncode}")
        return kills


def _write(folder: Path, files: int, rows: int) -> None:
    folder.mkdir()
    for number in range(files):
        _frame(number, rows).to_parquet(folder / f"{number:02d}.parquet", index=False)


def _frame(seed: int, rows: int) -> pd.DataFrame:
    import pandas as pd

    chance = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"r{seed}-{place}" for place in range(rows)],
            "carrier": chance.choice(list("ABCDE"), rows),
            **{f"x{column}": chance.normal(size=rows) for column in range(_NUMBERS)},
        }
    )


def _bare(base: Path) -> float:
    """Return how many rows a second the predictor answers, the best of three."""
    said = subprocess.run(
        [sys.executable, "-c", _BARE, str(base), str(_CHUNK)],
        check=True, stdout=subprocess.PIPE, env={**environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return float(said.stdout)


_BARE: Final = """
import sys, time
from pathlib import Path
import pandas as pd
from noria.registry import MlflowRegistry
from noria.embedded.home import Home
from noria.tasks.package import load_predictor
base, chunk = Path(sys.argv[1]), int(sys.argv[2])
home = Home(base / "home")
package = MlflowRegistry(home.tracking_uri, home.artifacts).package_path("bench", "1")
predictor = load_predictor(package)
frame = pd.read_parquet(base / "rows" / "00.parquet")
names = [one.name for one in predictor.manifest.inputs if one.name in frame]
whole = {name: frame[name].to_numpy() for name in names}
best = float("inf")
for _ in range(3):
    began = time.perf_counter()
    for start in range(0, len(frame), chunk):
        predictor.predict({name: values[start:start + chunk] for name, values in whole.items()})
    best = min(best, time.perf_counter() - began)
print(len(frame) / best)
"""


def _digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(_parts(folder))).hexdigest()


def _parts(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.glob("*.parquet")):
        yield path.name.encode()
        yield path.read_bytes()
