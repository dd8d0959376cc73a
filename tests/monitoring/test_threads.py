"""Threads of the monitor outlive what nobody foresaw, and their life can be measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.exposition import Exposition
from monitoring.log import EventLog
from monitoring.records import Label, LabelsRecord, RequestRecord, ResponseRecord, encode
from monitoring.service import Monitor, Setting
from noria.errors import MonitoringError, Unavailable

Make = Callable[..., Any]


def test_a_record_that_can_not_be_stored_fails_alone(tmp_path: Any) -> None:
    gate = threading.Event()
    first = threading.Event()

    def now() -> float:
        first.set()
        gate.wait(10)
        return 1e9

    gate.set()
    log = EventLog(tmp_path / "log.db", now)
    gate.clear()
    first.clear()
    held = log.append([(1, b"held")])
    assert first.wait(10)
    # These share a transaction: the writer is busy with the first one.
    answers: list[Future[int]] = [
        log.append([(1, b"before")]),
        log.append([(1 << 70, b"rows that fit into no int64")]),
        log.append_labels([Label("id:r:0", 1.0, 1 << 70, correct=True)]),
        log.append_labels([Label("id:\ud800:0", 1.0)]),
        log.append([(1, b"after")]),
    ]
    gate.set()
    assert held.result(10) == 1
    assert (answers[0].result(10), answers[4].result(10)) == (1, 1)
    for wrong in answers[1:4]:
        with pytest.raises(MonitoringError, match="it can't be stored"):
            wrong.result(10)
    assert log.append([(1, b"later")]).result(10) == 1
    assert log.worker.problem == log.problem == ""
    log.close()


def test_a_client_that_gives_up_waiting_takes_nothing_with_it(bench: Make) -> None:
    b = bench()
    done, _ = b.monitor.feedback(b'{"labels": [{"id": "r:0", "label": 1}]}')
    done.cancel()
    assert done.result(10) == 1
    assert b.label([{"id": "r:1", "label": 1}]) == (1, 1)


def test_everybody_who_waits_is_answered_when_the_monitor_closes(bench: Make) -> None:
    b = bench()
    waiting = [
        b.monitor.feedback(b'{"labels": [{"id": "r:%d", "label": 1}]}' % i)[0] for i in range(50)
    ]
    b.monitor.close()
    assert sum(done.result(10) for done in waiting) == 50
    with pytest.raises(Unavailable, match="stopping"):
        b.monitor.feedback(b'{"labels": [{"id": "r:0", "label": 1}]}')
    b.monitor = b.open()


def test_a_record_that_can_not_be_processed_is_left_out_counted_and_named(bench: Make) -> None:
    b = bench()
    b.predict("a", 3)
    records = [
        # No door lets these in: they are what an earlier version may have logged.
        LabelsRecord((Label("id:a:not-a-row", 1.0),)),
        RequestRecord("b", "1", 1, {"carrier": 7}),  # type: ignore[dict-item]
        ResponseRecord("b", "1", 1, b"\0" * 8),
    ]
    for record in records:
        b.monitor._log.append([(1, encode(record))]).result()
    b.predict("c", 3)
    status = b.status()
    assert status["counts"]["rows"] == 6
    assert status["counts"]["dropped"]["unreadable"] == 2
    assert "is left out: ValueError" in status["problems"]["left out"]
    assert b.monitor.health().ok


def test_a_metric_that_is_not_measured_here_stops_nothing(
    bench: Make, world: Any, tmp_path: Any
) -> None:
    b = bench(performance={"metrics": ["auc"], "window": {"rows": 100}})
    # The spec may allow what the monitor of this version can't measure.
    b.config = replace(b.config, metrics=("auc", "silhouette"))
    b.restart()
    b.champion("1", world.reference(tmp_path / "reference"))
    b.predict("r", 100)
    b.label_request("r")
    status = b.status()
    metrics = status["performance"]["1"]["metrics"]
    assert metrics["auc"]["value"] is not None
    assert metrics["silhouette"]["value"] is None
    assert "not measured here" in metrics["silhouette"]["problem"]
    b.predict("s", 100)
    assert b.status()["counts"]["rows"] == 200


def series(monitor: Monitor, name: str) -> dict[str, float]:
    found = text_string_to_metric_families(Exposition(monitor).text().decode())
    return {
        sample.labels.get("worker", ""): sample.value
        for family in found
        for sample in family.samples
        if sample.name == name and sample.labels["model"] == "flights"
    }


def test_health_says_what_each_thread_does(bench: Make) -> None:
    b = bench()
    b.predict("r", 3)
    b.monitor.flush()
    health = b.monitor.health()
    assert (health.ok, health.can_write, health.can_process, health.blind) == (True, True, True, "")
    assert health.backlog == 0
    assert set(health.workers) == {"log", "processor"}
    assert all(worker.age_seconds < 30 for worker in health.workers.values())
    assert set(series(b.monitor, "noria_worker_age_seconds")) == {"log", "processor"}
    failures = series(b.monitor, "noria_worker_failures_total")
    assert failures == {"log": 0.0, "processor": 0.0}


def test_a_thread_that_is_stuck_is_told_and_takes_no_more(bench: Make) -> None:
    b = bench()
    b.monitor.close()
    passed = [0.0]
    stuck, gate = threading.Event(), threading.Event()
    gate.set()

    def now() -> float:
        if not gate.is_set():
            stuck.set()
            gate.wait(30)
        return 1e9

    monitor = b.monitor = Monitor(b.config, Setting(b.home), now, lambda: passed[0])
    gate.clear()
    done, _ = monitor.feedback(b'{"labels": [{"id": "r:0", "label": 1}]}')
    assert stuck.wait(10)
    assert monitor.health().can_write
    passed[0] = 61.0
    health = monitor.health()
    assert (health.ok, health.can_write) == (False, False)
    assert "'log' has not ended a step for 61 s" in health.problem
    assert "'log'" in monitor.hopeless
    assert series(monitor, "noria_worker_age_seconds")["log"] == 61.0
    with pytest.raises(Unavailable, match="does not answer"):
        monitor.feedback(b'{"labels": [{"id": "r:1", "label": 1}]}')
    gate.set()
    assert done.result(10) == 1


def test_a_step_that_fails_is_counted_told_and_tried_again(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench()
    processor = b.monitor._processor
    real, fails = processor.step, threading.Event()
    fails.set()

    def step(limit: int = 512) -> int:
        if fails.is_set():
            raise RuntimeError("nobody foresaw this")
        return real(limit)

    monkeypatch.setattr(processor, "step", step)
    b.predict("r", 3)
    with pytest.raises(MonitoringError, match="nobody foresaw this"):
        b.monitor.flush()
    health = b.monitor.health()
    assert (health.ok, health.can_write, health.can_process) == (False, True, False)
    assert series(b.monitor, "noria_worker_failures_total")["processor"] >= 1
    fails.clear()
    deadline = time.monotonic() + 120
    while b.monitor.backlog or not b.monitor.health().ok:
        assert time.monotonic() < deadline, b.monitor.health()
        time.sleep(0.05)
    assert b.status()["counts"]["rows"] == 3
