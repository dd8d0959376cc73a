"""The prediction's reference is what the champion itself has answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitoring.exposition import Exposition

Make = Callable[..., Any]


@pytest.fixture
def reference(world: Any, tmp_path: Path) -> Path:
    found: Path = world.reference(tmp_path / "reference")
    return found


def test_predictions_unlike_the_held_out_ones_are_no_drift(bench: Make, reference: Path) -> None:
    b = bench()
    b.champion("1", reference)
    # The model that answers was fitted again: it says something else from the start.
    for i in range(8):
        b.predict(f"r{i}", 200, score_shift=0.3)
    status = b.status()
    assert not status["drift"]["prediction"]["drift"]
    assert status["signals"] == []
    b.predict("moved", 200, score_shift=0.1)
    assert [s["id"] for s in b.signals()] == ["flights/1/prediction/5"]


def test_while_it_learns_the_status_says_so(bench: Make, reference: Path) -> None:
    b = bench()
    assert b.status()["waiting"] == {}
    b.champion("1", reference)
    b.predict("first", 150)
    # Of another version: not from the champion.
    b.predict("other", 50, version="2")
    status = b.status()
    assert status["waiting"]["prediction"] == "learns its reference: 150 of 800 rows"
    assert "prediction" not in status["drift"]
    b.restart()
    assert b.status()["waiting"]["prediction"] == "learns its reference: 150 of 800 rows"
    b.predict("second", 650)
    status = b.status()
    assert "prediction" not in status["waiting"]
    assert "prediction" not in status["drift"]
    (learnt,) = b.monitor.windows("prediction", 10)
    assert b'"learnt":800' in bytes(learnt)


def test_a_short_reference_is_learnt_from_fewer_rows(bench: Make, reference: Path) -> None:
    b = bench(referenceRows=300)
    b.champion("1", reference)
    b.predict("first", 100)
    assert b.status()["waiting"]["prediction"] == "learns its reference: 100 of 300 rows"


def test_without_a_detector_of_the_prediction_nothing_is_learnt(
    bench: Make, reference: Path
) -> None:
    b = bench(detectors=[{"name": "f", "kind": "ks", "watch": "features"}])
    b.champion("1", reference)
    b.predict("first", 200)
    status = b.status()
    assert "prediction" not in status["waiting"]
    assert status["windows"]["prediction"] == {"index": 1, "rows": 0}


def test_another_champion_is_learnt_anew(
    bench: Make, world: Any, reference: Path, tmp_path: Path
) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("a", 1000)
    b.champion("2", world.reference(tmp_path / "second", auc=0.8))
    for i in range(5):
        b.predict(f"b{i}", 200, version="2", score_shift=0.3)
    assert b.signals() == []
    b.restart()
    b.predict("moved", 200, version="2")
    assert [s["source"] for s in b.signals()] == ["prediction"]


def test_a_drop_says_since_when_its_rows_arrived(bench: Make, reference: Path) -> None:
    b = bench(window={"rows": 10_000})
    b.champion("1", reference)
    began = b.time
    for identity in "ab":
        b.predict(identity, 100)
        b.time += 3600.0
    for identity in "ba":
        b.label_request(identity, skill=0.0)
    (signal,) = b.signals()
    assert signal["kind"] == "performance"
    assert signal["since"] == "2023-11-14T22:13:20Z"
    assert began == 1_700_000_000.0


@pytest.mark.parametrize(("most", "alarms"), [("5%", 1), ("60%", 0), (0.02, 1)])
def test_a_drop_may_be_a_share_of_the_value_at_training(
    bench: Make, reference: Path, most: object, alarms: int
) -> None:
    drop = {"metric": "auc", "max": most, "confidence": 0.95}
    performance = {"metrics": ["auc"], "window": {"rows": 400}, "drop": drop}
    b = bench(window={"rows": 10_000}, performance=performance)
    b.champion("1", reference)
    b.predict("a", 400)
    b.label_request("a", skill=0.0)
    assert len(b.signals()) == alarms
    limit = {"5%": 0.035, "60%": 0.42, 0.02: 0.02}[most]  # of 0.7 at training
    (line,) = [
        line
        for line in Exposition(b.monitor).text().decode().splitlines()
        if line.startswith("noria_monitor_performance_drop_limit{")
    ]
    assert float(line.split()[-1]) == pytest.approx(limit)


def test_the_status_says_why_there_is_no_performance(bench: Make, reference: Path) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("a", 200)
    assert b.status()["waiting"]["performance"] == "no window yet: 0 of 200 labelled rows"
    b.label([{"id": f"a:{row}", "label": 0} for row in range(200)])
    assert "rarer class" in b.status()["waiting"]["performance"]
    b.predict("b", 200)
    b.label_request("b")
    assert "performance" not in b.status()["waiting"]
