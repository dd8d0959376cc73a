"""A history whose rows hold vectors is watched as the traffic would be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from noria.backtest.watcher import Watcher
from noria.loop.values import SignalKind
from noria.spec import parse_model

ROWS, WINDOW, WIDTH = 600, 200, 6


def test_vectors_of_a_history_are_watched_and_a_turn_of_them_is_a_signal(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0]

    def draw(rows: int) -> np.ndarray:
        return random.normal(size=(rows, WIDTH)) * np.linspace(3.0, 0.2, WIDTH) + 1.0

    vectors = draw(ROWS)
    vectors[-WINDOW:] = vectors[-WINDOW:] @ turn
    frame = pd.DataFrame({"image": list(vectors), "y": random.normal(size=ROWS)})
    frame["at"] = pd.date_range("2026-01-01", periods=ROWS, freq="h", tz="UTC")
    model = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "m"},
            "spec": {
                "task": {"family": "tabular-regression"},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [{"name": "image", "type": "vector"}],
                    "target": "y",
                    "eventTime": "at",
                },
                "monitoring": {"window": {"rows": WINDOW}, "referenceRows": 400},
            },
        }
    )
    reference = tmp_path / "reference"
    reference.mkdir()
    feature = {"name": "image", "kind": "vector", "width": WIDTH, "missing": 0.0}
    document = {"format": 1, "model": "m", "rows": 400, "features": [feature]}
    (reference / "reference.json").write_text(json.dumps(document))
    np.savez(reference / "rows.npz", f0=draw(400).astype(np.float32), prediction=np.zeros(9))
    event_ms = frame["at"].to_numpy("datetime64[ms]").astype(np.int64)
    watcher = Watcher(model, frame, event_ms, tmp_path / "monitor", lambda: 0.0)
    watcher.champion("1", reference, champion=True)
    watcher.answered("1", np.arange(ROWS - WINDOW), np.zeros(ROWS - WINDOW))
    watcher.flush()
    assert watcher.signals() == ()
    watcher.answered("1", np.arange(ROWS - WINDOW, ROWS), np.zeros(WINDOW))
    watcher.flush()
    (signal,) = watcher.signals()
    assert (signal.kind, signal.source) == (SignalKind.DRIFT, "vectors")
    watcher.close()
