"""Every detector of backend alibi that Noria exposes is fitted, run, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.detectors import DetectorConfig, Stateful, build_detector, load_detector
from monitoring.table import Column, Table
from noria.errors import InvalidInput, MonitoringError

pytestmark = pytest.mark.slow

OPTIONS: dict[str, dict[str, Any]] = {
    "mmd": {"referenceRows": 200},
    "lsdd": {"referenceRows": 400},
    "learned-kernel": {"referenceRows": 400, "epochs": 10},
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
    "learned-kernel",
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


@pytest.mark.parametrize("kind", ["mmd", "lsdd", "learned-kernel", "classifier"])
def test_a_joint_detector_of_alibi_takes_vectors(kind: str) -> None:
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.normal(size=(6, 6)))[0]

    def table(rows: int, *, turned: bool = False) -> Table:
        values = random.normal(size=(rows, 6)) * np.linspace(3, 0.2, 6) + 1.0
        values = (values @ turn if turned else values).astype(np.float32)
        schema = (Column("v", "vector", width=6), Column("a", "numeric"))
        return Table(schema, {"v": values, "a": random.normal(size=rows)}, rows)

    config = DetectorConfig("d", kind, "alibi", alpha=0.05, options=OPTIONS[kind])
    detector = build_detector(config, table(400))
    assert detector.score(table(200, turned=True)).drift
    assert detector.score(table(200)).p_value > 0.001


def test_an_online_detector_goes_on_where_its_state_was_kept() -> None:
    config = DetectorConfig("d", "online-cvm", "alibi", alpha=0.01, options=OPTIONS["online-cvm"])
    detector = build_detector(config, rows_of(0, 1000))
    assert isinstance(detector, Stateful)
    detector.score(rows_of(1, 15))
    kept = detector.state()
    expected = detector.score(rows_of(2, 15))
    detector.score(rows_of(3, 15))
    detector.restore(kept)
    again = detector.score(rows_of(2, 15))
    assert (again.statistic, again.threshold) == (expected.statistic, expected.threshold)
    assert again.effect == expected.effect > 0
    with pytest.raises(MonitoringError, match="starts afresh"):
        detector.restore(b"nothing")


def test_a_run_time_that_can_not_be_simulated_is_refused() -> None:
    config = DetectorConfig("d", "online-mmd", "alibi", alpha=0.001)
    with pytest.raises(InvalidInput, match=r"options\.ert"):
        build_detector(config, rows_of(0, 500))


def test_a_detector_of_alibi_leaves_the_random_streams_as_they_were() -> None:
    import torch

    detector = build_detector(
        DetectorConfig("d", "mmd", "alibi", alpha=0.1, options={"referenceRows": 50}),
        rows_of(0, 200),
    )
    np.random.seed(3)
    torch.manual_seed(3)
    before = (np.random.random(), float(torch.rand(1)))
    np.random.seed(3)
    torch.manual_seed(3)
    detector.score(rows_of(1, 50))
    assert (np.random.random(), float(torch.rand(1))) == before


def test_a_monitor_with_detectors_of_alibi_finds_drift_and_survives_a_restart(
    bench: Any, world: Any, tmp_path: Path
) -> None:
    b = bench(
        falseAlarmBudget={"probability": 0.5, "horizon": 2},
        detectors=[
            {"name": "tab", "kind": "tabular", "backend": "alibi", "watch": "features"},
            {
                "name": "online",
                "kind": "online-cvm",
                "backend": "alibi",
                "watch": "prediction",
                "options": {"bootstraps": 3000, "testWindow": 10, "ert": 2000},
            },
            {
                "name": "unsure",
                "kind": "model-uncertainty",
                "backend": "alibi",
                "watch": "prediction",
            },
        ],
    )
    b.champion("1", world.reference(tmp_path / "reference"))
    # The two of the prediction first learn from four windows what it says.
    b.predict("a", 800)
    assert b.status()["problems"] == {}
    b.restart()
    b.predict("b", 400, shift=4.0, score_shift=0.4)
    status = b.status()
    assert status["problems"] == {}
    assert status["alarms"] == {"tab": 3, "online": 2, "unsure": 2}
