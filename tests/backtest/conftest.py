"""A small stream with a planted change, and a backtest of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from noria.backtest.history import History, read_history
from noria.backtest.pool import Pool
from noria.backtest.progress import Progress
from noria.backtest.run import Backtest, Result
from noria.spec import Model, load_model

MODEL = """apiVersion: noria.dev/v1alpha1
kind: Model
metadata: {{name: stream}}
spec:
  task: {{family: {family}}}
  data:
    source: {{parquet: {{paths: [rows.parquet]}}}}
    features:
      - {{name: a, type: numeric}}
      - {{name: b, type: numeric}}
      - {{name: c, type: categorical}}
    target: y
    eventTime: happened
    labelTime: known
    validation: {{minRows: 300}}
  train:
    algorithm: lightgbm
    hyperparameters: {{n_estimators: 20}}
  monitoring: {{window: {{rows: 200}}, performance: {{window: {{rows: 200}}}}}}
  retraining: {{change: {{rows: 200}}}}
"""


def make_stream(
    folder: Path, kind: str = "binary", rows: int = 2500, days: int = 200
) -> tuple[Model, Path]:
    """Write rows in which what ``a`` and ``b`` mean turns round after half of the time."""
    random = np.random.default_rng(3)
    seconds = np.sort(random.uniform(0, days * 86400, rows))
    happened = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(seconds, unit="s")
    a, b = random.normal(size=(2, rows))
    turned = np.where(np.arange(rows) < rows // 2, 1.0, -1.0)
    z = 2 * turned * (a + b)
    noisy = z + random.logistic(size=rows)
    targets = {
        "binary": (noisy > 0).astype(int),
        "text": np.where(noisy > 0, "yes", "no"),
        "several": pd.cut(noisy, [-99, -1, 1, 99], labels=["low", "mid", "high"]).astype(str),
        "number": noisy,
    }
    frame = pd.DataFrame({"a": a, "b": b, "c": random.choice(list("xyz"), rows)})
    frame["y"] = targets[kind]
    frame["happened"] = happened
    frame["known"] = happened + pd.to_timedelta(random.uniform(1, 3 * 86400, rows), unit="s")
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "rows.parquet")
    family = "tabular-regression" if kind == "number" else "tabular-classification"
    file = folder / "model.yaml"
    file.write_text(MODEL.format(family=family))
    return load_model(file), file


def run(model: Model, history: History, cache: Path, jobs: int = 1) -> tuple[Result, int]:
    """Run a backtest; return it with how many fits it did itself."""
    shown = Console(quiet=True)
    with Pool(jobs) as pool, Progress(shown, history.streamed) as progress:
        result = Backtest(model, history, pool, cache).run(progress)
        return result, pool.fitted


@pytest.fixture(scope="session")
def stream_of() -> Callable[..., tuple[Model, Path]]:
    """Return ``make_stream(folder, kind, rows, days)``."""
    return make_stream


@pytest.fixture(scope="session")
def run_backtest() -> Callable[..., tuple[Result, int]]:
    """Return ``run(model, history, cache, jobs)``."""
    return run


@pytest.fixture(scope="session")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    return make_stream(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="session")
def history(stream: tuple[Model, Path]) -> History:
    model, file = stream
    return read_history(model.spec, file.parent)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def ran(stream: tuple[Model, Path], history: History, cache: Path) -> tuple[Result, int]:
    return run(stream[0], history, cache)


@pytest.fixture(scope="session")
def result(ran: tuple[Result, int]) -> Result:
    return ran[0]
