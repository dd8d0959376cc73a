"""A Prometheus that is down, slow or wrong during a rollout: it holds, and never promotes."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from noria.errors import InvalidInput, MetricsError, Unavailable
from noria.loop.engine import Engine
from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.state import RolloutPhase
from noria.prometheus import PrometheusClient, PrometheusMetrics
from noria.prometheus.client import Access

if TYPE_CHECKING:
    from conftest import Hub, Server

GOOD_ROWS = 800
TIMEOUT = 0.4


class Before:
    """Stands before the real Prometheus and passes on, unless ``fault`` answers instead."""

    def __init__(self, url: str) -> None:
        self.fault: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.tokens: list[str | None] = []
        before = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                before.tokens.append(self.headers.get("authorization"))
                body = self.rfile.read(int(self.headers["content-length"]))
                if before.fault is not None:
                    with contextlib.suppress(OSError):  # the client has given up
                        before.fault(self)
                    return
                said = httpx.post(
                    url + self.path,
                    content=body,
                    headers={"content-type": self.headers["content-type"]},
                )
                answer(self, said.content, said.status_code)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def answer(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def vector(**values: str) -> dict[str, Any]:
    """Return what a Prometheus says whose quantities are these, in its own format."""
    result = [{"metric": {"noria_kind": k}, "value": [0, v]} for k, v in values.items()]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


GOOD = vector(rows="9000", errors="0", requests="9000", live="1", quantile="0.001")
TWICE = vector(rows="9000", errors="0", requests="9000", live="1", quantile="0.001")
TWICE["data"]["result"] += GOOD["data"]["result"]


def saying(body: Any, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler: answer(handler, text, status)


def slow(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(TIMEOUT * 1.5)
    answer(handler, json.dumps(GOOD).encode())


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """Never silent for long, and never done: a timeout for each read would wait for ever."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def hung_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()


FAULTS = {
    "503": saying({"status": "error", "error": "the query queue is full"}, 503),
    "502 of a proxy": saying(b"<html>Bad Gateway</html>", 502),
    "a login page": saying(b"<html>who are you?</html>"),
    "401": saying(b"no", 401),
    "error with 200": saying({"status": "error", "error": "out of memory"}),
    "partial": saying({**GOOD, "warnings": ["no store answered for 2 of 3 blocks"]}),
    "nothing": saying(vector()),
    "no data at all": saying({"status": "success"}),
    "NaN": saying(vector(rows="NaN", errors="NaN", requests="NaN", live="NaN", quantile="NaN")),
    "NaN errors": saying(vector(rows="9000", errors="NaN", requests="9000", live="1")),
    "infinite": saying(vector(rows="+Inf", errors="0", requests="+Inf", live="1", quantile="+Inf")),
    "rows only": saying(vector(rows="9000")),
    "nobody alive": saying(vector(rows="9000", errors="0", requests="9000")),
    "several series": saying(TWICE),
    "a matrix": saying({"status": "success", "data": {"resultType": "matrix", "result": []}}),
    "no numbers": saying(vector(rows="many")),
    "endless": saying(b" " * (5 << 20)),
    "slow": slow,
    "dripping": dripping,
    "hung up": hung_up,
}


@pytest.fixture
def before(hub: Hub) -> Iterator[Before]:
    made = Before(hub.url)
    yield made
    made.close()


class World(FakeWorld):
    """The loop with everything fake but its measurements."""

    def __init__(self, url: str) -> None:
        super().__init__(
            sample_model(
                serving={
                    "canary": {
                        "steps": [10, 50],
                        "minSamples": 500,
                        "analysis": [
                            {"metric": "error-rate", "max": 0.01},
                            {"metric": "latency-p99", "max": "1s", "maxDrop": "500ms"},
                        ],
                    }
                }
            )
        )
        self.prometheus = PrometheusMetrics(url, clock=self.clock, timeout=TIMEOUT)

    def engine(self) -> Engine:
        return Engine(
            self.model,
            pipelines=self.pipelines,
            registry=self.registry,
            traffic=self.traffic,
            metrics=self.prometheus,
            store=self.store,
            clock=self.clock,
            alerts=self.alerts,
        )

    def percent(self) -> int:
        return self.traffic.weights(self.name).get("2", 0)


@pytest.fixture
def world(before: Before, serve: Callable[..., Server]) -> Iterator[World]:
    """Version 2 has 10 % of the traffic, and Prometheus has seen nothing but good of it."""
    made = World(before.url)
    made.install("1")
    made.tell("train", key="train")  # type: ignore[arg-type]
    made.cycle(2)
    made.finish_run("2")
    before.fault = saying(vector())
    made.cycle(4)
    assert made.percent() == 10
    servers = [serve(version, model=made.name) for version in ("1", "2")]
    for server in servers:
        server.answer(GOOD_ROWS)
    servers[-1].scraped()
    yield made
    made.prometheus.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rollout_is_held_while_prometheus_does_not_tell_the_truth(
    fault: str, before: Before, world: World
) -> None:
    before.fault = FAULTS[fault]
    decision = world.cycle(3)
    rollout = world.state.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.step, world.percent()) == (RolloutPhase.STEPPING, 0, 10)
    (held,) = [note for note in decision.explanation if note.kind == "rollout"]
    assert "step 1 of 2 (10 %) held" in held.text
    before.fault = None
    before.fault = None
    deadline = time.monotonic() + 120  # a scrape may be late on a busy machine
    while world.champion != "2":
        decision = world.cycle(8)
        assert time.monotonic() < deadline, decision.explanation


def test_a_rollout_is_held_while_prometheus_is_down(world: World, before: Before) -> None:
    before.close()
    world.cycle(3)
    assert world.percent() == 10
    assert world.champion == "1"


def test_what_prometheus_saw_fail_is_aborted(
    world: World, before: Before, serve: Callable[..., Server]
) -> None:
    before.fault = None
    before.fault = None
    bad = serve("2", model=world.name, instance="10.9.9.9:8080")
    bad.answer(40, code=500)
    bad.scraped()
    world.cycle(3)
    assert world.percent() == 0
    assert world.state.outcomes[-1].result == "aborted"


def test_an_address_that_is_none_is_refused() -> None:
    for wrong in ("prometheus:9090", "", "ftp://x", "http://", "http://[::1"):
        with pytest.raises(InvalidInput, match="write it as http://host:9090"):
            PrometheusClient(wrong)


def test_the_token_is_read_anew_for_each_query(before: Before, tmp_path: Path) -> None:
    token = tmp_path / "token"
    with PrometheusClient(before.url, access=Access(token_file=token)) as client:
        with pytest.raises(MetricsError, match="token: No such file"):
            client.query("up")
        for secret in ("one", "two"):
            token.write_text(f"{secret}\n")
            client.query("up")
    assert before.tokens == ["Bearer one", "Bearer two"]


def test_a_closed_port_is_unavailable() -> None:
    with PrometheusClient("http://127.0.0.1:1") as client:
        assert not client.ready()
        with pytest.raises(Unavailable, match="does not answer"):
            client.query("up")


def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    for content in (None, "no certificate"):
        if content is not None:
            ca.write_text(content)
        with pytest.raises(InvalidInput, match="CA file"):
            PrometheusClient("https://localhost", access=Access(ca_file=ca))
