"""The monitor as a process: its HTTP interface, its death, its size."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.adapter import MonitorMetrics
from monitoring.client import MonitorClient
from noria.errors import InvalidInput, Unavailable
from noria.loop.conformance.metrics import MetricsConformance
from noria.loop.values import Compared, MetricQuery, Signal, SignalKind
from noria.predictions import ACCEPT_POST, MEDIA_TYPE

MODEL = "flights"


class Process:
    """``python -m monitoring`` on a free port."""

    def __init__(self, model: Path, home: Path, *arguments: str) -> None:
        self._command = [
            sys.executable,
            "-m",
            "monitoring",
            "--model",
            str(model),
            "--state",
            str(home),
            "--ready-file",
            str(home.with_suffix(".ready")),
            *arguments,
        ]
        self._ready = home.with_suffix(".ready")
        self.http: Any = None
        self.start()

    def start(self) -> None:
        self.close()
        self._ready.unlink(missing_ok=True)
        began = time.monotonic()
        self.process = subprocess.Popen(self._command)
        while not self._ready.exists():
            assert self.process.poll() is None, "the monitor died at start"
            assert time.monotonic() - began < 120
            time.sleep(0.01)
        ready = json.loads(self._ready.read_text())
        assert ready["pid"] == self.process.pid
        self.url = ready["url"]
        self.http = httpx.Client(base_url=self.url, timeout=30.0)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        if self.http is not None:
            self.http.close()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        self.close()
        return self.process.wait(30)

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.fixture
def start(tmp_path: Path, model_file: Callable[..., Path]) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def run(*arguments: str, **monitoring: Any) -> Process:
        found = Process(model_file(**monitoring), tmp_path / f"home{len(made)}", *arguments)
        made.append(found)
        return found

    yield run
    for one in made:
        one.stop()


def event(
    wire: SimpleNamespace, identity: str, kind: str, body: Any, version: str = "1"
) -> dict[str, Any]:
    return {"headers": wire.headers(identity, kind, version), "content": json.dumps(body)}


def test_the_monitor_says_that_it_reads_blocks(
    start: Callable[..., Any], world: Any, wire: SimpleNamespace
) -> None:
    process = start()
    said = process.http.request("OPTIONS", "/")
    assert said.status_code == 200
    assert MEDIA_TYPE in said.headers[ACCEPT_POST].split(", ")
    headers, body = wire.block([("r", world.request(2), world.scores(2))])
    assert process.http.post("/", headers=headers, content=body).status_code == 200
    refused = process.http.post("/", headers=headers, content=body[:-9])
    assert refused.status_code == 400
    assert "no block of predictions" in refused.json()["error"]
    assert process.http.get(f"/models/{wire.model}/status").json()["counts"]["received"] == 1


def test_it_is_small_and_soon_ready_and_stops_when_told(
    start: Callable[..., Process], world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    process = start()
    with MonitorClient(process.url) as client:
        client.put_reference(MODEL, "1", world.reference(tmp_path / "r", 10_000), champion=True)
        for i in range(20):
            for kind, body in (
                ("request", world.request(500)),
                ("response", wire.response(world.scores(500))),
            ):
                answer = process.http.post("/", **event(wire, f"r{i}", kind, body))
                assert answer.status_code == 200
        assert client.flush()["rows"] == 10_000
        assert client.healthy()
    assert process.resident_mb() < 200
    assert process.stop() == 0


def test_native_detectors_import_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys, monitoring.__main__, monitoring.watch\n"
        "heavy = {'torch', 'alibi_detect', 'pandas', 'sklearn', 'numba', 'mlflow'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_input_is_a_4xx_that_names_the_field(
    start: Callable[..., Process], world: Any, wire: SimpleNamespace
) -> None:
    process = start("--max-body-bytes", "20000")
    http = process.http
    good = wire.headers("r", "request")

    def said(answer: httpx.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["error"]

    assert said(http.post("/", content=b"{}")) == (
        400,
        "header ce-id: missing; send a CloudEvent, as KServe's logger does",
    )
    assert said(http.post("/", headers=good, content=b"not json"))[0] == 400
    status, text = said(
        http.post(
            "/",
            headers=good | {"ce-inferenceservicename": "other"},
            content=json.dumps(world.request(1)),
        )
    )
    assert (status, "inferenceservicename: 'other'" in text) == (400, True)
    assert said(http.post("/", headers=good, content=b"x" * 30_000)) == (
        413,
        "body: larger than 20000 bytes; send less in one request",
    )
    chunks = iter([b"x" * 15_000, b"y" * 15_000])
    assert said(http.post("/", headers=good, content=chunks))[0] == 413
    assert said(http.get("/nowhere"))[0] == 404
    assert said(http.get("/feedback"))[0] == 405
    assert said(http.get("/models/other/status"))[0] == 404
    assert said(http.get(f"/models/{MODEL}/nothing"))[0] == 404
    assert said(http.get(f"/models/{MODEL}/measure"))[1].startswith("metric: missing")
    assert said(http.get(f"/models/{MODEL}/measure?metric=nope"))[0] == 400
    assert said(http.get(f"/models/{MODEL}/measure?metric=auc&since=soon"))[0] == 400
    assert said(http.post("/feedback", json={"labels": [{"id": "r:0"}]}))[0] == 400
    assert said(http.put(f"/models/{MODEL}/versions/1/reference", json={"path": "/nope"}))[0] == 400
    # Counted, and nothing of it in the log.
    health = http.get("/healthz").json()
    assert (health["ok"], health["problem"]) == (True, "")
    counts = http.post("/flush").json()
    assert (counts["received"], counts["dropped"]["refused"]) == (0, 5)


def test_a_version_s_own_inference_service_is_named_for_the_model_and_the_version(
    start: Callable[..., Process], world: Any, wire: SimpleNamespace
) -> None:
    """As KServe's logger names it where each version has an InferenceService."""
    http = start().http
    good = wire.headers("r", "request", "7")
    body = json.dumps(world.request(1))
    for name, status in (("flights-v7", 200), ("flights-v8", 400), ("other-v7", 400)):
        answer = http.post("/", headers=good | {"ce-inferenceservicename": name}, content=body)
        assert answer.status_code == status, answer.text
    assert http.post("/flush").json()["received"] == 1


def test_prometheus_is_told_bounded_series(
    start: Callable[..., Process], world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    process = start()
    with MonitorClient(process.url) as client:
        client.put_reference(MODEL, "1", world.reference(tmp_path / "r"), champion=True)
        for i in range(100):
            # Versions come from outside.
            version = "1" if i < 10 else f"v{i}"
            for kind, body in (
                ("request", world.request(20, shift=4.0)),
                ("response", wire.response(world.scores(20))),
            ):
                process.http.post("/", **event(wire, f"r{i}", kind, body, version))
        labels = [{"id": f"r{i}:{k}", "label": (i + k) % 2} for i in range(10) for k in range(20)]
        assert client.feedback(MODEL, labels).accepted == 200
        client.flush()
        assert len(client.windows(MODEL, "features")) == 10
    families = {
        family.name: family.samples
        for family in text_string_to_metric_families(process.http.get("/metrics").text)
    }
    ours = {name for name in families if name.startswith("noria_monitor_")}
    assert ours >= {
        "noria_monitor_events",
        "noria_monitor_rows",
        "noria_monitor_dropped",
        "noria_monitor_drift",
        "noria_monitor_drift_effect",
        "noria_monitor_drift_feature_effect",
        "noria_monitor_quality_share",
        "noria_monitor_performance",
        "noria_monitor_performance_low",
        "noria_monitor_performance_expected",
        "noria_monitor_label_lag_seconds",
        "noria_monitor_last_window_age_seconds",
        "noria_monitor_backlog_records",
    }
    drift = {s.labels["detector"]: s.value for s in families["noria_monitor_drift"]}
    # Of the champion there were too few rows to learn from.
    assert drift == {"features": 1.0}
    versions = {s.labels["version"] for s in families["noria_monitor_rows"]}
    assert len(versions) <= 65
    assert "other" in versions
    for samples in families.values():
        for sample in samples:
            assert not {"p_value", "statistic", "pod", "instance"} & set(sample.labels)


@pytest.mark.slow
def test_kill_9_loses_nothing_acknowledged_and_counts_nothing_twice(
    start: Callable[..., Process], world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    process = start()
    with MonitorClient(process.url) as client:
        client.put_reference(MODEL, "1", world.reference(tmp_path / "r"), champion=True)
    events = [
        (f"r{i}", kind, json.dumps(body))
        for i in range(240)
        for kind, body in (
            ("request", world.request(25, start=25 * i)),
            ("response", wire.response(world.scores(25))),
        )
    ]
    random = np.random.default_rng(0)
    sent = kills = 0
    while sent < len(events):
        killer = threading.Timer(float(random.uniform(0.05, 0.4)), process.kill)
        if kills < 5:
            kills += 1
            killer.start()
        try:
            while sent < len(events):
                identity, kind, body = events[sent]
                # A client whose answer was lost sends again; some are sent again for no reason.
                for _ in range(2 if random.random() < 0.3 else 1):
                    answer = process.http.post(
                        "/", headers=wire.headers(identity, kind), content=body
                    )
                    assert answer.status_code == 200
                sent += 1
        except (httpx.HTTPError, RuntimeError):
            killer.join()
            process.start()
        finally:
            killer.cancel()
    with MonitorClient(process.url) as client:
        counts = client.flush()
        assert (counts["rows"], counts["requests"], counts["responses"]) == (6000, 240, 240)
        assert counts["dropped"]["unpaired"] == 0
        status = client.status(MODEL)
        assert status["windows"]["features"] == {"index": 30, "rows": 0}
        windows = client.windows(MODEL, "features")
        assert [w["window"] for w in windows] == list(range(30))
        assert all(w["drift"]["features"]["samples"] == 200 for w in windows)


def test_a_monitor_that_is_down_is_unavailable(start: Callable[..., Process]) -> None:
    process = start()
    process.kill()
    with MonitorClient(process.url, timeout=1.0) as client:
        with pytest.raises(Unavailable, match="does not answer"):
            client.status(MODEL)
        assert not client.healthy()


class Driver:
    """A real monitor behind the loop's port."""

    model = MODEL
    patience = 10.0
    metric = "accuracy"

    def __init__(self, process: Process, world: Any, wire: SimpleNamespace, home: Path) -> None:
        self._process, self._world, self._wire = process, world, wire
        self._client = MonitorClient(process.url)
        self._client.put_reference(MODEL, "1", world.reference(home / "driver"), champion=True)
        self._requests = 0
        self.port = MonitorMetrics(self._client)

    def predict(self, version: str, rows: int, shift: float = 0.0) -> tuple[str, np.ndarray]:
        self._requests += 1
        identity, scores = f"d{self._requests}", self._world.scores(rows)
        for kind, body in (
            ("request", self._world.request(rows, shift)),
            ("response", self._wire.response(scores)),
        ):
            self._process.http.post("/", **event(self._wire, identity, kind, body, version))
        return identity, scores

    def publish(self, version: str, samples: int) -> Compared:
        identity, scores = self.predict(version, samples)
        truth = self._world.labels(scores)
        self._client.feedback(
            MODEL, [{"id": f"{identity}:{i}", "label": int(y)} for i, y in enumerate(truth)]
        )
        self._client.flush()
        accuracy = float(((scores >= 0.5) == truth).mean())
        return Compared(self.metric, version, accuracy, samples)

    def signal(self) -> Signal:
        self.predict("1", 200, shift=5.0)
        self._client.flush()
        return Signal(
            f"{MODEL}/1/features/0", SignalKind.DRIFT, "features", datetime.now(UTC), "", "1"
        )

    def now(self) -> datetime:
        return datetime.now(UTC)

    def take_down(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._client.close()


class TestMonitorMetrics(MetricsConformance):
    @pytest.fixture
    def driver(
        self, start: Callable[..., Process], world: Any, wire: SimpleNamespace, tmp_path: Path
    ) -> Iterator[Driver]:
        found = Driver(start(quality={"maxOutOfRange": 1.0}), world, wire, tmp_path)
        yield found
        found.close()

    def test_a_candidate_is_measured_beside_the_champion(self, driver: Driver) -> None:
        began = datetime.now(UTC)
        champion, candidate = driver.publish("1", 200), driver.publish("2", 100)
        seen = driver.port.measure(MetricQuery(MODEL, "2", "accuracy", began, champion="1"))
        assert (seen.value, seen.samples) == (candidate.value, 100)
        assert (seen.baseline, seen.baseline_samples) == (champion.value, 200)
        assert seen.low is not None
        assert seen.low <= seen.value <= (seen.high or 0)
        rows = driver.port.measure(MetricQuery(MODEL, "2", "labelled-rows", began))
        assert rows.value == 300
        later = driver.port.measure(MetricQuery(MODEL, "2", "accuracy", datetime.now(UTC)))
        assert (later.value, later.samples) == (None, 0)


def test_the_client_refuses_what_the_monitor_refuses(start: Callable[..., Process]) -> None:
    with MonitorClient(start().url) as client, pytest.raises(InvalidInput, match=r"labels\[0\]"):
        client.feedback(MODEL, [{"id": "r:0", "label": "late"}])


def test_a_time_that_no_file_holds_is_refused_and_the_monitor_goes_on(
    start: Callable[..., Process], world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    process = start()
    json_only = {"content-type": "application/json"}
    with httpx.Client(base_url=process.url, timeout=60, headers=json_only) as http:
        body = '{"labels":[{"id":"x:0","label":1,"time":1000000000000000000000000000000}]}'
        answer = http.post("/feedback", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("labels[0].time: ")
        assert http.post("/feedback", content=body.replace("0" * 12, "")).status_code == 200
        for kind, sent in (
            ("request", world.request(3)),
            ("response", wire.response(world.scores(3))),
        ):
            headers = wire.headers("x", kind)
            http.post("/", headers=headers, content=json.dumps(sent)).raise_for_status()
        assert http.post("/flush").json()["joined"] == 1
        assert http.get("/livez").status_code == 200
        health = http.get("/healthz").json()
        assert health["ok"]
        assert set(health["workers"]) == {"log", "processor"}
        reference = world.reference(tmp_path / "reference")
        put = {"path": str(reference), "champion": True}
        http.put(f"/models/{wire.model}/versions/1/reference", json=put).raise_for_status()
        http.post("/flush").raise_for_status()
        assert http.get("/healthz").status_code == 200
