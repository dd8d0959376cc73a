"""A rollout is measured by the series of a server that is not Noria's, named as vLLM names its own.

The text is what Prometheus keeps of such a server: the PodMonitor gives it ``model`` and
``version`` by the pod's labels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from noria.clocks import WallClock
from noria.loop.values import Compared, MetricQuery
from noria.measures.proportion import exact
from noria.prometheus import PrometheusMetrics
from noria.spec import MetricNames

if TYPE_CHECKING:
    from conftest import Hub

REASONS = ("stop", "length")
BUCKETS = ("0.3", "0.5", "0.8", "+Inf")
NAMES = MetricNames(
    requests=('http_requests_total{handler="/v1/chat/completions"}',),
    errors=('http_requests_total{handler="/v1/chat/completions",status="5xx"}',),
    seconds="vllm:e2e_request_latency_seconds",
    samples=("vllm:request_success_total",),
)


class Vllm:
    """What vLLM's server counts: by the reason for its end, by the handler and the status."""

    def __init__(self, model: str, version: str, scraped: Callable[[], None]) -> None:
        self.model, self.version, self.scraped = model, version, scraped
        self.counts: dict[str, int] = {}
        self.without: tuple[str, ...] = ()
        for reason in REASONS:
            self._count(f'vllm:request_success_total{{finished_reason="{reason}"', 0)
        for bound in BUCKETS:
            self._count(f'vllm:e2e_request_latency_seconds_bucket{{le="{bound}"', 0)
        self._count("vllm:e2e_request_latency_seconds_count{", 0)
        self._count('http_requests_total{handler="/health",status="2xx"', 0)

    def _count(self, series: str, by: int) -> None:
        self.counts[series] = self.counts.get(series, 0) + by

    def answer(self, times: int, *, reason: str = "stop") -> None:
        """Answer in 0.4 s."""
        self._count(f'vllm:request_success_total{{finished_reason="{reason}"', times)
        for bound in BUCKETS[1:]:
            self._count(f'vllm:e2e_request_latency_seconds_bucket{{le="{bound}"', times)
        self._count("vllm:e2e_request_latency_seconds_count{", times)
        self._http("2xx", times)

    def fail(self, times: int) -> None:
        self._http("5xx", times)

    def _http(self, status: str, times: int) -> None:
        self._count(f'http_requests_total{{handler="/v1/chat/completions",status="{status}"', times)
        # A probe is no request.
        self._count('http_requests_total{handler="/health",status="2xx"', 3)

    def text(self) -> str:
        scraped = f'model="{self.model}",version="{self.version}",exported_model="opt",'
        place = f'{scraped}instance="10.0.0.1:8080",pod="p-{self.version}",job="pods"'
        return "".join(
            f"{series}{'' if series.endswith('{') else ','}{place}}} {count}\n"
            for series, count in self.counts.items()
            if not series.startswith(self.without)
        )


@pytest.fixture
def vllm(hub: Hub, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Vllm]]:
    made: list[Any] = []

    def start(version: str) -> Vllm:
        server = Vllm(request.node.name, version, hub.scraped)
        made.append(server)
        hub.servers.append(server)  # type: ignore[arg-type]
        hub.scraped()
        return server

    yield start
    hub.servers[:] = [server for server in hub.servers if server not in made]


def metrics(hub: Hub, names: MetricNames = NAMES) -> contextlib.closing[PrometheusMetrics]:
    return contextlib.closing(PrometheusMetrics(hub.url, clock=WallClock(), names=names))


def begin(server: Vllm) -> datetime:
    since = datetime.now(UTC)
    server.scraped()
    return since


def query(server: Vllm, since: datetime, metric: str, champion: str | None = None) -> MetricQuery:
    return MetricQuery(server.model, server.version, metric, since, champion)


def test_requests_errors_and_samples_are_those_named(hub: Hub, vllm: Callable[[str], Vllm]) -> None:
    champion, candidate = vllm("1"), vllm("2")
    since = begin(candidate)
    champion.answer(50)
    candidate.answer(60)
    candidate.answer(30, reason="length")
    candidate.fail(10)
    candidate.scraped()
    with metrics(hub) as measuring:
        found = measuring.measure(query(candidate, since, "error-rate", champion="1"))
    low, high = exact(10, 100)
    base_low, base_high = exact(0, 50)
    # The champion has no series of a failure: nothing failed.
    assert found == Compared(
        "error-rate", "2", 0.1, 100, low, high, baseline=0.0, baseline_low=base_low,
        baseline_high=base_high, baseline_samples=50,
    )  # fmt: skip


def test_latencies_are_of_the_histogram_named(hub: Hub, vllm: Callable[[str], Vllm]) -> None:
    server = vllm("2")
    since = begin(server)
    server.answer(500)
    server.scraped()
    with metrics(hub) as measuring:
        found = measuring.measure(query(server, since, "latency-p99"))
    assert found.value == pytest.approx(0.3 + 0.2 * 0.99)
    assert found.samples == 500
    assert found.low is not None
    assert found.high is not None
    assert not found.lacking


def test_samples_that_are_not_named_are_requests_without_errors(
    hub: Hub, vllm: Callable[[str], Vllm]
) -> None:
    server = vllm("2")
    since = begin(server)
    server.answer(30)
    server.fail(30)
    server.scraped()
    server.answer(60)
    server.fail(30)
    server.scraped()
    with metrics(hub, NAMES.model_copy(update={"samples": ()})) as measuring:
        found = measuring.measure(query(server, since, "error-rate"))
    assert found.value == 0.4
    # A lower bound: a series that is new within the step counts what it got since.
    assert 60 <= found.samples <= 150


def test_errors_without_a_name_are_not_measured_and_answers_still_count(
    hub: Hub, vllm: Callable[[str], Vllm]
) -> None:
    server = vllm("2")
    since = begin(server)
    server.answer(40)
    server.scraped()
    with metrics(hub, NAMES.model_copy(update={"errors": ()})) as measuring:
        found = measuring.measure(query(server, since, "error-rate"))
        assert (found.value, found.samples, found.problem) == (None, 40, "")
        assert "can't be measured" in found.lacking
        assert measuring.measure(query(server, since, "latency-p50")).value is not None


def test_errors_that_are_named_and_not_there_are_a_problem(
    hub: Hub, vllm: Callable[[str], Vllm]
) -> None:
    server = vllm("2")
    since = begin(server)
    server.answer(40)
    server.scraped()
    with metrics(hub, NAMES.model_copy(update={"errors": ("failures_total",)})) as measuring:
        found = measuring.measure(query(server, since, "error-rate"))
    assert found.value is None
    assert "nan of 40 requests of v2 failed, which is no count" in found.problem


def test_counters_that_are_added_up_are_all_needed(hub: Hub, vllm: Callable[[str], Vllm]) -> None:
    server = vllm("2")
    since = begin(server)
    both = tuple(f'vllm:request_success_total{{finished_reason="{r}"}}' for r in REASONS)
    server.answer(40)
    server.answer(2, reason="length")
    server.scraped()
    with metrics(hub, MetricNames(requests=both)) as measuring:
        assert measuring.measure(query(server, since, "error-rate")).samples == 42
    with metrics(hub, MetricNames(requests=(*both, "other_total"))) as measuring:
        assert measuring.measure(query(server, since, "error-rate")).samples == 0
