"""The life of a real server process, and what it tells others about itself."""

from __future__ import annotations

import json
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Sink:
    """A real HTTP server that keeps the events it is sent."""

    def __init__(self, status: int = 200, *, batches: bool = True) -> None:
        sink = self
        self.status = status
        self.events: list[dict[str, Any]] = []
        self.connections = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                sink.connections += 1
                super().setup()

            def do_OPTIONS(self) -> None:
                self.answer(405)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                batch = self.headers["content-type"] == "application/cloudevents-batch+json"
                if batch and not batches:
                    return self.answer(415)
                if sink.status == 200 and batch:
                    sink.events += body
                elif sink.status == 200:
                    named = {
                        key[3:].lower(): value
                        for key, value in self.headers.items()
                        if key.lower().startswith("ce-")
                    }
                    sink.events.append({**named, "data": body})
                return self.answer(sink.status)

            def answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 10
        while len(self.events) < count:
            assert time.monotonic() < deadline, f"{len(self.events)} events"
            time.sleep(0.02)
        return self.events

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


def test_a_request_in_flight_is_answered_after_sigterm(start_server: Any) -> None:
    server = start_server()
    body = json.dumps(BODY).encode()
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
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


# -- payload events


def test_events_hold_the_request_and_the_response_under_one_id(
    start_server: Any, sink: Sink
) -> None:
    server = start_server("--sink", sink.url, "--namespace", "ns", "--redact", "b")
    with server.client() as client:
        answered = client.post(URL, json=BODY).json()
    request, response = sink.wait_for(2)
    for event in (request, response):
        assert event["specversion"] == "1.0"
        assert event["id"] == "r-7"
        assert event["source"] == "http://localhost:9081/"
        assert event["inferenceservicename"] == "m"
        assert event["namespace"] == "ns"
        assert event["component"] == "predictor"
        assert json.loads(event["annotations"]) == {"noria.dev/model-version": "3"}
    assert request["type"] == "org.kubeflow.serving.inference.request"
    assert response["type"] == "org.kubeflow.serving.inference.response"
    columns = {tensor["name"]: tensor["data"] for tensor in request["data"]["inputs"]}
    assert columns == {"a": [0, 4], "c": [2, 6], "d": [3, 7]}
    assert request["data"]["parameters"] == {"redacted": "b"}
    outputs = {tensor["name"]: tensor["data"] for tensor in response["data"]["outputs"]}
    assert outputs == {output["name"]: output["data"] for output in answered["outputs"]}
    assert response["data"]["model_version"] == "3"


def test_every_protocol_logs_under_the_id_that_it_was_given(start_server: Any, sink: Sink) -> None:
    server = start_server("--sink", sink.url)
    with server.client() as client:
        client.post(URL, json=BODY, headers={"ce-id": "from-ce"})
        client.post(URL, json=BODY, headers={"x-request-id": "from-proxy"})
        client.post("/v1/models/m:predict", json={"instances": [[1, 2, 3, 4]]})
        client.post(URL, json={**BODY, "id": ""})
    events = sink.wait_for(8)
    ids = [event["id"] for event in events[::2]]
    assert ids[:2] == ["from-ce", "from-proxy"]
    assert all(len(made) == 36 for made in ids[2:])
    assert ids[2] != ids[3]
    assert sink.connections == 1


def test_a_refused_request_is_not_logged_and_sampling_is_by_the_id(
    start_server: Any, sink: Sink
) -> None:
    server = start_server("--sink", sink.url, "--sample", "0.3")
    with server.client() as client:
        client.post(URL, json={"inputs": []})
        for _ in range(2):
            for n in range(200):
                client.post(URL, json={**BODY, "id": f"r-{n}"})
    server.stop()
    logged = [event["id"] for event in sink.events if event["type"].endswith("request")]
    assert 60 < len(logged) < 180
    assert sorted(logged[: len(logged) // 2]) == sorted(logged[len(logged) // 2 :])


def test_a_sink_without_batches_gets_events_one_by_one(start_server: Any) -> None:
    sink = Sink(batches=False)
    server = start_server("--sink", sink.url)
    with server.client() as client:
        client.post(URL, json=BODY)
    events = sink.wait_for(2)
    sink.close()
    assert [event["id"] for event in events] == ["r-7", "r-7"]
    assert events[0]["inferenceservicename"] == "m"
    assert events[1]["data"]["outputs"][0]["name"] == "probability"


def test_events_wait_for_a_sink_that_is_away(start_server: Any) -> None:
    sink = Sink(status=503)
    server = start_server("--sink", sink.url)
    with server.client() as client:
        client.post(URL, json=BODY)
        time.sleep(0.3)
        sink.status = 200
    assert len(sink.wait_for(2)) == 2
    sink.close()
    assert server.metric("noria_payload_events_dropped_total") == 0
    assert server.metric("noria_payload_events_sent_total") == 2


def test_a_sink_that_never_answers_slows_nothing_and_what_is_lost_is_counted(
    start_server: Any,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = start_server("--sink", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        big = {
            "inputs": [
                {"name": "x", "shape": [10_000, 4], "datatype": "FP64", "data": [1.5] * 40_000}
            ]
        }
        with server.client() as client:
            slowest = 0.0
            for _ in range(90):
                began = time.perf_counter()
                assert client.post(URL, json=big).status_code == 200
                slowest = max(slowest, time.perf_counter() - began)
        assert slowest < 1.0
        assert server.metric("noria_payload_events_dropped_total") > 0
        server.process.kill()


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
