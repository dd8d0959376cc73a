"""A year of history through ``noria backtest``, as a user runs it: 50,000 rows of 12 features."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import yaml

from tests.bench.rows import Row, row

_ROWS: Final = 50_000
_FEATURES: Final = 12
_DAYS: Final = 365


def run() -> list[Row]:
    """Measure a walk whose every fit is done, then one whose fits are all in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        _project(base)
        first, retrains = _walk(base)
        again, _ = _walk(base)
    return [
        row("backtest.walk", first, "s"),
        row("backtest.retrains", retrains, "retrains"),
        row("backtest.cached", again, "s", first),
    ]


def _walk(base: Path) -> tuple[float, float]:
    """Return the seconds that the command takes, and how often the loop retrained."""
    out = base / "out.json"
    command = [
        sys.executable,
        "-m",
        "noria.cli",
        "backtest",
        "-f",
        "model.yaml",
        "--json",
        str(out),
    ]
    began = time.perf_counter()
    subprocess.run(command, cwd=base, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    return seconds, float(json.loads(out.read_text())["retrains"]["loop"])


def _project(base: Path) -> None:
    """Write rows of which three features trade places, at a third and at two thirds of the year."""
    random = np.random.default_rng(0)
    x = random.normal(size=(_ROWS, _FEATURES))
    at = np.sort(random.uniform(0, _DAYS * 86400, _ROWS))
    weights = np.linspace(1.0, 0.1, _FEATURES)
    part = np.minimum(np.arange(_ROWS) * 3 // _ROWS, 2)
    score = np.choose(part, [x @ np.roll(weights, 4 * shift) for shift in range(3)])
    happened = pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(at, unit="s")
    frame = pd.DataFrame({f"x{i}": x[:, i] for i in range(_FEATURES)})
    frame["y"] = (score + random.logistic(size=_ROWS) > 0).astype(int)
    frame["happened"] = happened.as_unit("us")
    frame["known"] = (happened + pd.Timedelta(days=1)).as_unit("us")
    frame.to_parquet(base / "rows.parquet", index=False)
    names = [{"name": f"x{i}", "type": "numeric"} for i in range(_FEATURES)]
    resource = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "bench"},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": names,
                "target": "y",
                "eventTime": "happened",
                "labelTime": "known",
            },
            "train": {"algorithm": "lightgbm"},
        },
    }
    (base / "model.yaml").write_text(yaml.safe_dump(resource))
