"""The metrics that alerts are made of: drops with their bound, the budget, what was lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.exposition import Exposition


def shown(bench: Any) -> dict[str, dict[tuple[str, ...], float]]:
    bench.monitor.flush()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(Exposition(bench.monitor).text().decode()):
        for sample in family.samples:
            labels = sorted((k, v) for k, v in sample.labels.items() if k != "model")
            found.setdefault(sample.name, {})[tuple(v for _, v in labels)] = sample.value
    return found


@pytest.fixture
def watched(bench: Callable[..., Any], world: Any, tmp_path: Path) -> Any:
    made = bench()
    made.champion("1", world.reference(tmp_path / "reference"))
    return made


def test_a_drop_is_shown_with_what_its_interval_leaves(watched: Any) -> None:
    for i in range(10):
        watched.predict(f"r{i}", 200)
        watched.label_request(f"r{i}", skill=0.0)
    found = shown(watched)
    least = found["noria_monitor_performance_drop_low"]["auc", "1"]
    high = found["noria_monitor_performance_high"]["auc", "1"]
    value = found["noria_monitor_performance"]["auc", "1"]
    # 0.7 at training was measured too, 0.01 either way.
    assert least == pytest.approx(0.7 - value - math.hypot(high - value, 0.01))
    assert found["noria_monitor_performance_drop_limit"] == {("auc",): 0.03}
    said = any(s["kind"] == "performance" for s in watched.signals())
    assert said == (least > 0.03)


def test_a_drop_ends_with_the_champion_that_had_it(
    watched: Any, world: Any, tmp_path: Path
) -> None:
    watched.predict("r", 200)
    watched.label_request("r")
    assert ("auc", "1") in shown(watched)["noria_monitor_performance_drop_low"]
    watched.champion("2", world.reference(tmp_path / "second"))
    found = shown(watched)
    assert "noria_monitor_performance_drop_low" not in found
    assert ("auc", "1") in found["noria_monitor_performance"]


def test_the_budget_is_used_window_by_window_and_anew_for_a_new_reference(
    watched: Any, world: Any, tmp_path: Path
) -> None:
    assert shown(watched)["noria_monitor_false_alarm_budget_used"] == {(): 0.0}
    for i in range(12):
        watched.predict(f"r{i}", 200)
    # Half of the 24 windows of the horizon, but the prediction's first four were learnt from:
    # half of 0.05 for 12 windows of two detectors, of which 12 and 8 were tested.
    used = shown(watched)["noria_monitor_false_alarm_budget_used"][()]
    assert used == pytest.approx(0.025 * (12 + 8) / 24)
    assert shown(watched)["noria_monitor_false_alarm_budget"] == {(): 0.05}
    watched.champion("2", world.reference(tmp_path / "second"))
    assert shown(watched)["noria_monitor_false_alarm_budget_used"] == {(): 0.0}


def test_what_may_be_lost_is_counted_from_zero(watched: Any) -> None:
    found = shown(watched)
    lost = found["noria_monitor_dropped_total"]
    assert {("backlog",), ("not-written",), ("refused",)} <= set(lost)
    assert set(lost.values()) == {0.0}
    assert found["noria_monitor_drift_alarms_total"] == {("features",): 0.0, ("prediction",): 0.0}


def test_the_limits_stand_beside_what_they_limit(watched: Any) -> None:
    found = shown(watched)
    assert found["noria_monitor_quality_limit"][("missing",)] == 0.1
    assert found["noria_monitor_window_rows"] == {(): 200.0}


def test_rows_without_a_window_are_counted_until_one_closes(
    bench: Callable[..., Any], world: Any, tmp_path: Path
) -> None:
    unwatched = bench()
    unwatched.predict("before", 450)
    assert shown(unwatched)["noria_monitor_rows_since_window"] == {(): 450.0}
    unwatched.champion("1", world.reference(tmp_path / "reference"))
    assert shown(unwatched)["noria_monitor_rows_since_window"] == {(): 0.0}
    unwatched.predict("after", 150)
    assert shown(unwatched)["noria_monitor_rows_since_window"] == {(): 150.0}
    unwatched.predict("more", 100)
    assert shown(unwatched)["noria_monitor_rows_since_window"] == {(): 0.0}
