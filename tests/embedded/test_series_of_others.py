"""Without Prometheus: a rollout by the series of servers that are not Noria's, over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from noria.errors import MetricsError
from noria.loop.engine import Engine
from noria.loop.fakes import FakeMetrics, FakeWorld, sample_model
from noria.loop.values import Compared, MetricQuery, Verb
from noria.measures.proportion import exact
from noria.prometheus.counted import CountedMetrics
from noria.spec import MetricNames
from serving.scrape import parse_serving_metrics

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
RUNTIME = {
    "name": "kserve-huggingfaceserver",
    "format": "huggingface",
    "metrics": {
        "requests": ["http_requests_total"],
        "errors": ['http_requests_total{status=~"5.."}'],
        "seconds": "vllm:e2e_request_latency_seconds",
        "samples": ["vllm:request_success_total"],
    },
}
NAMES = MetricNames.model_validate(RUNTIME["metrics"])


class Vllm:
    """A server that counts as vLLM does, with the usual client library."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.http = Counter("http_requests", "", ["status"], registry=registry)
        self.answered = Counter("vllm:request_success", "", ["finished_reason"], registry=registry)
        self.seconds = Histogram(
            "vllm:e2e_request_latency_seconds", "", ["model_name"], registry=registry
        )

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/stats" else 404)
                self.end_headers()
                self.wfile.write(generate_latest(registry))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/stats"

    def answer(self, times: int, *, seconds: float = 0.4, reason: str = "stop") -> None:
        for _ in range(times):
            self.http.labels("200").inc()
            self.answered.labels(reason).inc()
            self.seconds.labels("opt").observe(seconds)

    def fail(self, times: int) -> None:
        self.http.labels("503").inc(times)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def servers() -> Iterator[dict[str, Vllm]]:
    made = {version: Vllm() for version in ("1", "2")}
    yield made
    for server in made.values():
        server.close()


def metrics(servers: dict[str, Vllm], names: MetricNames = NAMES) -> CountedMetrics:
    return CountedMetrics(FakeMetrics, lambda _, version: [servers[version].url], names)


def query(metric: str) -> MetricQuery:
    return MetricQuery("m", "2", metric, SINCE, champion="1")


def test_requests_errors_and_samples_are_those_named(servers: dict[str, Vllm]) -> None:
    found = metrics(servers)
    assert found.measure(query("error-rate")).value is None
    servers["1"].answer(50)
    servers["2"].answer(60)
    servers["2"].answer(30, reason="length")
    servers["2"].fail(10)
    low, high = exact(10, 100)
    base_low, base_high = exact(0, 50)
    assert found.measure(query("error-rate")) == Compared(
        "error-rate", "2", 0.1, 100, low, high, baseline=0.0, baseline_low=base_low,
        baseline_high=base_high, baseline_samples=50,
    )  # fmt: skip


def test_latencies_are_of_the_histogram_named(servers: dict[str, Vllm]) -> None:
    found = metrics(servers)
    found.measure(query("latency-p99"))
    servers["2"].answer(500, seconds=0.4)
    servers["1"].answer(500, seconds=0.04)
    seen = found.measure(query("latency-p99"))
    assert seen.value is not None
    assert seen.baseline is not None
    assert 0.25 < seen.value <= 0.5
    assert seen.baseline <= 0.05
    assert (seen.samples, seen.lacking) == (500, "")


def test_errors_without_a_name_are_not_measured_and_answers_still_count(
    servers: dict[str, Vllm],
) -> None:
    found = metrics(servers, NAMES.model_copy(update={"errors": ()}))
    found.measure(query("error-rate"))
    servers["2"].answer(40)
    servers["2"].fail(2)
    seen = found.measure(query("error-rate"))
    assert (seen.value, seen.samples) == (None, 40)
    assert "can't be measured" in seen.lacking


def test_errors_that_are_named_and_not_there_are_no_zero(servers: dict[str, Vllm]) -> None:
    found = metrics(servers, NAMES.model_copy(update={"errors": ("failures_total",)}))
    found.measure(query("error-rate"))
    servers["2"].answer(40)
    with pytest.raises(MetricsError, match="the servers' metrics have no failures_total"):
        found.measure(query("error-rate"))


def test_a_server_without_any_of_the_names_is_an_error(servers: dict[str, Vllm]) -> None:
    found = metrics(servers, MetricNames(requests=("served_total",)))
    with pytest.raises(MetricsError, match="served_total is missing"):
        found.measure(query("error-rate"))


def test_more_errors_than_requests_are_no_rate(servers: dict[str, Vllm]) -> None:
    """Where requests are named that count successes only."""
    names = NAMES.model_copy(update={"requests": ("vllm:request_success_total",)})
    found = metrics(servers, names)
    found.measure(query("error-rate"))
    servers["2"].answer(2)
    servers["2"].fail(5)
    with pytest.raises(MetricsError, match="must count failed ones too"):
        found.measure(query("error-rate"))


@pytest.mark.parametrize(
    "text",
    [
        'http_requests_total{status="200"} NaN\n',
        'http_requests_total{status="200"} -1\n',
        'http_requests_total{status="200} 1\n',
        'http_requests_total 1\ntook_bucket{le="0.5"} NaN\n',
        "http_requests_total 1\ntook_bucket 3\n",
        "",
        "<html>not found</html>\n",
    ],
)
def test_what_is_no_count_is_an_error(text: str) -> None:
    with pytest.raises(MetricsError):
        parse_serving_metrics(text, MetricNames(requests=("http_requests_total",), seconds="took"))


class World(FakeWorld):
    """The loop with everything fake but its measurements."""

    def __init__(self, servers: dict[str, Vllm]) -> None:
        analysis = [
            {"metric": "error-rate", "max": 0.05},
            {"metric": "latency-p99", "max": "2s"},
        ]
        canary = {"steps": [10, 50], "minSamples": 400, "analysis": analysis}
        super().__init__(sample_model(serving={"runtime": RUNTIME, "canary": canary}))
        self.counted = CountedMetrics(
            lambda: self.metrics,
            lambda _, version: [servers[version].url],
            self.model.spec.serving.metrics,
        )
        self.install("1")
        self.tell(Verb.TRAIN)
        self.cycle(2)
        self.finish_run("2")

    def run(self) -> Engine:
        return Engine(
            self.model,
            pipelines=self.pipelines,
            registry=self.registry,
            traffic=self.traffic,
            metrics=self.counted,
            store=self.store,
            clock=self.clock,
            alerts=self.alerts,
        )


@pytest.mark.parametrize(
    ("failing", "seconds", "champion", "because"),
    [(0, 0.4, "2", "error-rate"), (200, 0.4, "1", "error-rate"), (0, 4.0, "1", "latency-p99")],
    ids=["passes", "fails requests", "is slow"],
)
def test_a_canary_is_promoted_or_aborted_by_the_series_of_another_server(
    servers: dict[str, Vllm], failing: int, seconds: float, champion: str, because: str
) -> None:
    world = World(servers)
    engine = world.run()
    told = ""
    for _ in range(40):
        told += "".join(note.text for note in engine.cycle().decision.explanation)
        servers["1"].answer(100)
        servers["2"].answer(100, seconds=seconds)
        servers["2"].fail(failing)
        world.clock.advance(timedelta(seconds=10))
        if world.state.outcomes and world.state.rollout is None:
            break
    (outcome,) = world.state.outcomes[-1:]
    assert outcome.version == "2"
    assert world.champion == champion
    assert f"{because} is " in told
    assert (champion == "2") == (outcome.result == "promoted")
