"""The life of a real server process, and what it tells others about itself."""

from __future__ import annotations

import json
import math
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from noria.errors import MetricsError
from serving.scrape import ServingSnapshot, parse_serving_metrics, read_serving_metrics

URL = "/v2/models/m/infer"
BODY = {
    "id": "r-7",
    "inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": list(range(8))}],
}


def test_a_request_in_flight_is_answered_after_sigterm(start_server: Any) -> None:
    server = start_server()
    body = json.dumps(BODY).encode()
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % (URL.encode(), len(body))
        )
        connection.sendall(body[:20])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        connection.sendall(body[20:])
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in received
    assert server.process.wait(10) == 0


def test_readiness_goes_before_the_listener(start_server: Any) -> None:
    server = start_server("--drain-delay", "1.0")
    with server.client() as client:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/health/live").status_code == 200
        assert client.post(URL, json=BODY).status_code == 200
    assert server.process.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--digest", "00"], "the package's digest is"),
        (["--package", "/nowhere"], "there is no such file"),
        (["--sink", "nonsense"], "--sink: 'nonsense' is not an http:// or https:// URL"),
        (["--sample", "2"], "--sample: 2.0 is not between 0 and 1"),
    ],
)
def test_a_server_that_can_not_start_says_why_in_one_sentence(
    package: Path, options: list[str], message: str
) -> None:
    ended = subprocess.run(
        [
            sys.executable, "-m", "serving", "--package", str(package), "--name", "m",
            "--version", "3", *options,
        ],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode in (1, 2)
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_starting_imports_nothing_heavy() -> None:
    code = "import serving.server, serving.oip.grpc, sys; print(' '.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"kserve", "pandas", "fastapi", "uvicorn", "sklearn", "mlflow", "torch", "feast"}
    assert not heavy.intersection(loaded)


# -- metrics


def test_metrics_count_requests_rows_and_latencies_by_version_and_protocol(
    start_server: Any,
) -> None:
    server = start_server()
    with server.client() as client:
        for _ in range(5):
            client.post(URL, json=BODY)
        client.post("/v1/models/m:predict", json={"instances": [[1, 2, 3, 4]]})
        client.post(URL, json={})
    version = {"model": "m", "version": "3"}
    assert server.metric("noria_requests_total", protocol="rest", code="200", **version) == 5
    assert server.metric("noria_requests_total", protocol="rest", code="400", **version) == 1
    assert server.metric("noria_requests_total", protocol="v1", code="200", **version) == 1
    assert server.metric("noria_rows_total", **version) == 11
    assert server.metric("noria_inflight", **version) == 0
    assert server.metric("noria_ready", **version) == 1
    snapshot = read_serving_metrics(server.url)
    assert (snapshot.requests, snapshot.errors, snapshot.rows) == (7, 0, 11)
    assert 0 < snapshot.p50 <= snapshot.p99 < math.inf
    with server.client() as client:
        client.post(URL, json=BODY)
    later = read_serving_metrics(f"{server.url}/metrics").since(snapshot)
    assert (later.requests, later.rows, later.buckets[-1]) == (1, 2, (math.inf, 1))


def test_prometheus_itself_can_read_the_metrics(server: Any) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["noria_request_seconds"].type == "histogram"
    assert families["noria_requests"].type == "counter"


def test_a_source_that_is_away_is_an_error_and_not_a_number(server: Any) -> None:
    with pytest.raises(MetricsError):
        read_serving_metrics("http://127.0.0.1:9/")
    with pytest.raises(MetricsError, match="noria_rows_total is missing"):
        parse_serving_metrics("up 1\n")


def test_quantiles_of_nothing_are_not_a_number_and_a_restart_starts_over() -> None:
    assert math.isnan(ServingSnapshot().p99)
    before = ServingSnapshot(10, 1, 10, ((0.1, 10), (math.inf, 10)))
    after = ServingSnapshot(4, 0, 4, ((0.1, 2), (math.inf, 4)))
    assert after.since(before) == after
    assert before.quantile(0.5) == pytest.approx(0.05)
    assert after.p99 == 0.1  # above the last bound: at least that
