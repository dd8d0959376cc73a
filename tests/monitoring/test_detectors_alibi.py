"""Every detector of backend alibi that Noria exposes is fitted, run, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.detectors import DetectorConfig, Stateful, build_detector, load_detector
from monitoring.table import Column, Table

pytestmark = pytest.mark.slow

OPTIONS: dict[str, dict[str, Any]] = {
    "mmd": {"referenceRows": 200},
    "lsdd": {"referenceRows": 400},
    "classifier": {"folds": 3},
    "online-mmd": {"ert": 300, "bootstraps": 400, "referenceRows": 200, "testWindow": 10},
    "online-cvm": {"ert": 300, "bootstraps": 2000, "referenceRows": 200, "testWindow": 10},
}
KINDS = (
    "ks",
    "chi-square",
    "tabular",
    "mmd",
    "lsdd",
    "classifier",
    "model-uncertainty",
    "online-mmd",
    "online-cvm",
)


def rows_of(seed: int, rows: int, shift: float = 0.0) -> Table:
    random = np.random.default_rng(seed)
    weights = np.array([0.5, 0.3, 0.2]) if not shift else np.array([0.2, 0.3, 0.5])
    schema = (
        Column("a", "numeric"),
        Column("b", "numeric"),
        Column("c", "categorical", ("x", "y", "z")),
    )
    columns = {
        "a": random.normal(shift, 1, rows),
        "b": random.normal(shift, 1, rows),
        "c": random.choice(3, rows, p=weights).astype(np.int32),
    }
    return Table(schema, columns, rows)


def probabilities(seed: int, rows: int, shift: float = 0.0) -> Table:
    random = np.random.default_rng(seed)
    values = random.beta(2 + 6 * shift, 8, rows)
    return Table((Column("prediction", "numeric"),), {"prediction": values}, rows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_of_alibi_is_fitted_run_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    make = probabilities if kind == "model-uncertainty" else rows_of
    config = DetectorConfig("d", kind, "alibi", alpha=0.01, options=OPTIONS.get(kind, {}))
    detector = build_detector(config, make(0, 1000))
    quiet, moved = make(1, 200), make(2, 200, 1.0)
    detector.save(tmp_path / "d")
    loaded = load_detector(tmp_path / "d")
    assert loaded.config == config

    first = detector.score(quiet)
    assert not first.drift or kind.startswith("online")
    again = loaded.score(quiet)
    assert again.statistic == pytest.approx(first.statistic, abs=1e-9)
    assert again.p_value == first.p_value
    assert detector.score(moved).drift
    assert loaded.score(moved).drift
    if kind.startswith("online"):
        assert isinstance(detector, Stateful)
