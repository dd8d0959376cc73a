"""Disks that are full, clocks that go back, clients that send too much: bounded and told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

MIB = 1 << 20


def metric(http: httpx.Client, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(http.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    raise AssertionError(f"no {name} {labels}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_loses_nothing_and_heals_by_itself(
    lives: Callable[..., Any], world: Any, wire: SimpleNamespace, small_disk: Path
) -> None:
    process = lives(home=small_disk / "home")
    with httpx.Client(base_url=process.start(), timeout=60) as http:

        def send(i: int) -> httpx.Response:
            body = json.dumps(world.request(100))
            return http.post("/", headers=wire.headers(f"r{i}", "request"), content=body)

        assert send(0).status_code == 200
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        acknowledged = refused = 0
        for i in range(1, 60):
            answer = send(i)
            acknowledged += answer.status_code == 200
            if answer.status_code != 200:
                refused += 1
                assert answer.status_code == 503
                assert "log can't be written: database or disk is full" in answer.json()["error"]
        assert refused > 0
        assert metric(http, "noria_monitor_log_failing") == 1
        assert metric(http, "noria_monitor_dropped_total", reason="not-written") == refused
        health = http.get("/healthz")
        assert (health.status_code, "full" in health.json()["problem"]) == (503, True)
        ballast.unlink()
        # Without a single request: a client that was told 503 may never come again.
        deadline = time.monotonic() + 120
        while http.get("/healthz").status_code != 200:
            assert time.monotonic() < deadline, http.get("/healthz").text
            time.sleep(0.1)
        assert metric(http, "noria_monitor_log_failing") == 0
        assert send(1000).status_code == 200
        counts = http.post("/flush").raise_for_status().json()
        assert counts["requests"] == acknowledged + 2
        assert counts["dropped"]["unreadable"] == 0
        assert metric(http, "noria_monitor_processing_held_up") == 0


def test_a_clock_that_is_set_back_loses_nothing_and_hides_no_silence(
    bench: Callable[..., Any], world: Any, tmp_path: Path
) -> None:
    monitored = bench()
    monitored.monitor.close()
    passed = [0.0]
    from monitoring.service import Monitor, Setting

    monitored.monitor = Monitor(
        monitored.config, Setting(monitored.home), lambda: monitored.time, lambda: passed[0]
    )
    monitored.champion("1", world.reference(tmp_path / "reference"))
    monitored.predict("before", 200)
    monitored.label_request("before")
    assert monitored.status()["windows"]["features"]["index"] == 1
    # An hour back, and then nothing for five minutes.
    monitored.time -= 3600
    monitored.monitor.window_age()
    monitored.time += 300
    passed[0] += 300
    assert monitored.monitor.window_age() == 300
    # To its threads five minutes passed in no time: until their next step they look stuck.
    deadline = time.monotonic() + 120
    while not monitored.monitor.health().ok:
        assert time.monotonic() < deadline
    monitored.predict("after", 400)
    monitored.time += 60
    passed[0] += 60
    monitored.label_request("after")
    status = monitored.status()
    assert status["counts"]["rows"] == 600
    assert status["counts"]["joined"] == 600
    assert status["counts"]["clock_steps"] == 1
    assert status["windows"]["features"]["index"] == 3
    assert monitored.monitor.window_age() == 60
    assert status["label_lag_seconds"] == 0
    assert status["label_delay_seconds"] == 60
    monitored.time += 7200
    monitored.predict("later", 200)
    assert monitored.status()["label_lag_seconds"] == pytest.approx(7260)
    restarted = monitored.status()
    monitored.restart()
    assert monitored.status()["windows"] == restarted["windows"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_a_gigabyte_is_refused_at_once(
    lives: Callable[..., Any], *, chunked: bool
) -> None:
    process = lives()
    url = urlsplit(process.start())
    before = process.resident_mib()
    head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += b"transfer-encoding: chunked" if chunked else b"content-length: %d" % (1 << 30)
    piece = bytes(MIB)
    sent = 0
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as client:
        client.sendall(head + b"\r\n\r\n")
        with suppress(OSError):
            while sent < 1 << 30:
                client.sendall(b"%x\r\n%b\r\n" % (MIB, piece) if chunked else piece)
                sent += MIB
                # Slowly, once it was refused: what it sends then is read and thrown away.
                if sent > 40 * MIB:
                    time.sleep(0.05)
        # What it could still send went nowhere: the answer came after the limit of 16 MiB.
        answer = b""
        with suppress(OSError):
            answer = client.recv(4096)
    assert not answer or answer.startswith(b"HTTP/1.1 413")
    assert sent < 900 * MIB
    assert process.resident_mib() - before < 40
    with httpx.Client(base_url=process.url) as http:
        assert http.get("/healthz").status_code == 200
        assert metric(http, "noria_monitor_dropped_total", reason="refused") == 1


def test_ten_thousand_unknown_categories_cost_no_memory_and_are_counted(
    lives: Callable[..., Any], world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    process = lives()
    with httpx.Client(base_url=process.start(), timeout=60) as http:
        body = {"path": str(world.reference(tmp_path / "reference")), "champion": True}
        http.put(f"/models/{wire.model}/versions/1/reference", json=body).raise_for_status()
        _feed(http, wire, world, "warm", 20)
        before, series = process.resident_mib(), len(http.get("/metrics").text)
        for i in range(20):
            request = world.request(500)
            request["inputs"][0]["data"] = [f"unknown-{500 * i + k:06d}" for k in range(500)]
            _post(http, wire, f"u{i}", request, world, 500)
        http.post("/flush").raise_for_status()
        assert metric(http, "noria_monitor_unseen_values_total") == 10_000
        assert metric(http, "noria_monitor_quality_share", rule="unseen") == 1.0
        text = http.get("/metrics").text
        assert "unknown-" not in text
        # Two detectors' values and three shares become other digits, not other series.
        assert len(text) < series + 2000
        assert process.resident_mib() - before < 20


def test_five_hundred_columns_fit(
    lives: Callable[..., Any], world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    import numpy as np

    names = [f"x{i}" for i in range(500)]
    document = wire.document()
    document["spec"]["data"]["features"] = [{"name": n, "type": "numeric"} for n in names]
    model = tmp_path / "wide.yaml"
    model.write_text(yaml.safe_dump(document))
    folder = tmp_path / "reference"
    folder.mkdir()
    features = [{"name": n, "kind": "numeric", "min": -9.0, "max": 9.0} for n in names]
    said = {"format": 1, "model": wire.model, "rows": 2000, "features": features}
    (folder / "reference.json").write_text(json.dumps(said))
    random = np.random.default_rng(0)
    columns = {f"f{i}": random.normal(size=2000) for i in range(500)}
    np.savez(folder / "rows.npz", **columns, prediction=random.beta(2, 5, 2000))
    process = lives(model=model)
    with httpx.Client(base_url=process.start(), timeout=60) as http:
        body = {"path": str(folder), "champion": True}
        http.put(f"/models/{wire.model}/versions/1/reference", json=body).raise_for_status()
        http.post("/flush").raise_for_status()
        before = process.resident_mib()
        for i in range(20):
            inputs = [
                wire.tensor(n, "FP64", random.normal(size=100).round(3).tolist()) for n in names
            ]
            _post(http, wire, f"w{i}", {"inputs": inputs}, world, 100)
        counts = http.post("/flush").raise_for_status().json()
        # Ten of the features; of the prediction one of 800 rows to learn from, and six.
        assert (counts["rows"], counts["windows"]) == (2000, 10 + 1 + 6)
        series = [s for s in http.get("/metrics").text.splitlines() if "feature_effect{" in s]
        # The ten strongest, and the prediction.
        assert len(series) == 11
        assert process.resident_mib() - before < 120


def test_many_slow_connections_are_held_to_a_number(lives: Callable[..., Any]) -> None:
    process = lives()
    url = urlsplit(process.start("--max-connections", "50"))
    address = (url.hostname or "", url.port or 0)
    head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{"
    clients = [socket.create_connection(address, timeout=60) for _ in range(80)]
    try:
        for client in clients:
            try:
                client.sendall(head)
            except OSError:
                continue
        time.sleep(0.5)
        ended = 0
        for client in clients:
            client.setblocking(False)
            try:
                ended += client.recv(1) == b""
            except ConnectionError:
                ended += 1
            except BlockingIOError:
                continue
        assert ended == 30
    finally:
        for client in clients:
            client.close()
    with httpx.Client(base_url=process.url, timeout=60) as http:
        assert http.get("/healthz").status_code == 200


def _feed(http: httpx.Client, wire: SimpleNamespace, world: Any, name: str, count: int) -> None:
    for i in range(count):
        _post(http, wire, f"{name}{i}", world.request(500), world, 500)
    http.post("/flush").raise_for_status()


def _post(
    http: httpx.Client, wire: SimpleNamespace, name: str, request: Any, world: Any, rows: int
) -> None:
    for kind, body in (("request", request), ("response", wire.response(world.scores(rows)))):
        answer = http.post("/", headers=wire.headers(name, kind), content=json.dumps(body))
        assert answer.status_code == 200
