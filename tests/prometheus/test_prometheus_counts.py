"""What is counted since a step began, on a real Prometheus: never more than was seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from noria.clocks import WallClock
from noria.errors import MetricsError
from noria.loop.fakes import FakeMetrics
from noria.loop.ports import LABELLED_ROWS
from noria.loop.values import Compared, MetricQuery
from noria.measures.proportion import exact
from noria.prometheus import PrometheusClient, PrometheusMetrics

if TYPE_CHECKING:
    from conftest import Hub, Server

    Serve = Callable[..., Server]


@pytest.fixture
def metrics(hub: Hub) -> Iterator[PrometheusMetrics]:
    with contextlib.closing(PrometheusMetrics(hub.url, clock=WallClock())) as made:
        yield made


def now() -> datetime:
    return datetime.now(UTC)


def counted(seen: Compared) -> Compared:
    """Leave the intervals out: what was counted is compared."""
    return msgspec.structs.replace(seen, low=None, high=None, baseline_low=None, baseline_high=None)


def begin(server: Server) -> datetime:
    """Begin a step, and wait for the first scrape in it: rows count from there."""
    since = now()
    server.scraped()
    return since


def query(
    server: Server, since: datetime, metric: str = "error-rate", champion: str | None = None
) -> MetricQuery:
    return MetricQuery(server.model, server.version, metric, since, champion)


def test_what_was_answered_before_the_step_does_not_count(
    serve: Serve, metrics: PrometheusMetrics
) -> None:
    server = serve("2")
    server.answer(500)
    server.answer(500, code=500)
    server.scraped()
    since = now()
    server.scraped()
    assert counted(metrics.measure(query(server, since))) == Compared("error-rate", "2", None, 0)
    server.answer(30)
    server.scraped()
    assert counted(metrics.measure(query(server, since))) == Compared("error-rate", "2", 0.0, 30)


def test_rows_are_never_more_than_were_answered(serve: Serve, metrics: PrometheusMetrics) -> None:
    server, since = serve("2"), now()
    for answered in range(1, 16):
        server.answer(10)
        server.scraped()
        seen = metrics.measure(query(server, since))
        assert 10 * (answered - 1) <= seen.samples <= 10 * answered
    raw = f'increase(noria_rows_total{{model="{server.model}"}}[10s])'
    with PrometheusClient(metrics._client.url) as client:
        (plain,) = client.query(raw)
    assert plain.value > 150  # what is avoided


def test_first_requests_that_all_fail_are_seen(serve: Serve, metrics: PrometheusMetrics) -> None:
    """The series of errors is born at 40: its first sample is not its zero."""
    server, since = serve("2"), now()
    server.answer(40, code=500)
    server.scraped()
    assert counted(metrics.measure(query(server, since))) == Compared("error-rate", "2", 1.0, 40)


def test_candidate_and_champion_over_the_same_time(
    serve: Serve, metrics: PrometheusMetrics
) -> None:
    champion, candidate = serve("1"), serve("2")
    since = begin(candidate)
    champion.answer(90)
    champion.answer(10, code=503)
    candidate.answer(50)
    candidate.scraped()
    assert counted(metrics.measure(query(candidate, since, champion="1"))) == Compared(
        "error-rate", "2", 0.0, 50, baseline=0.1, baseline_samples=100
    )
    rates = metrics.measure(query(candidate, since, champion="1"))
    assert (rates.low, rates.high) == exact(0, 50)
    assert (rates.baseline_low, rates.baseline_high) == exact(10, 100)
    latency = metrics.measure(query(candidate, since, "latency-p99", champion="1"))
    assert (latency.samples, latency.baseline_samples) == (50, 90)
    assert latency.value == latency.baseline == pytest.approx(0.004975)
    assert (latency.low, latency.lacking) == (None, "needs 368 requests, has 50")
    assert latency.baseline_lacking == "needs 368 requests, has 100"
    median = metrics.measure(query(candidate, since, "latency-p50"))
    assert median.value is not None
    assert median.low is not None
    assert median.high is not None
    assert median.low < median.value < median.high
    assert not median.lacking


def test_pods_of_a_version_are_added_up_and_one_that_is_gone_still_counts(
    serve: Serve, metrics: PrometheusMetrics
) -> None:
    first, second = serve("2"), serve("2")
    since = begin(second)
    first.answer(60, code=500)
    second.answer(40)
    second.scraped()
    first.go()
    assert counted(metrics.measure(query(second, since))) == Compared("error-rate", "2", 0.6, 100)


def test_a_pod_that_comes_later_counts_from_its_first_scrape(
    serve: Serve, metrics: PrometheusMetrics
) -> None:
    first = serve("2")
    since = begin(first)
    first.answer(10)
    later = serve("2")
    later.answer(5)
    later.scraped()
    assert metrics.measure(query(first, since)).samples == 15


def test_a_restart_loses_rows_and_no_errors(serve: Serve, metrics: PrometheusMetrics) -> None:
    server = serve("2")
    since = begin(server)
    server.answer(100)
    server.answer(100, code=500)
    server.scraped()
    server.start_anew()
    server.scraped()
    server.answer(20)
    server.scraped()
    seen = metrics.measure(query(server, since))
    # Rows since the restart only; the failures before it are no more forgotten than others.
    assert seen.value == pytest.approx(100 / 220, rel=0.05)
    assert 120 <= seen.samples <= 20 + 140


def test_a_target_that_is_scraped_twice_counts_once(
    serve: Serve, metrics: PrometheusMetrics
) -> None:
    one = serve("2", instance="10.1.1.1:8080", job="pods")
    two = serve("2", instance="10.1.1.1:8080", job="services")
    since = begin(one)
    for same in (one, two):
        same.answer(30)
        same.answer(10, code=500)
    two.scraped()
    assert counted(metrics.measure(query(one, since))) == Compared("error-rate", "2", 0.25, 40)


def test_models_of_one_name_in_two_namespaces_are_told_apart(serve: Serve, hub: Hub) -> None:
    ours, theirs = serve("2", namespace="prod"), serve("2", namespace="dev")
    since = begin(ours)
    ours.answer(10)
    theirs.answer(70, code=500)
    ours.scraped()
    metrics = PrometheusMetrics(hub.url, clock=WallClock(), namespace="prod")
    with contextlib.closing(metrics):
        assert counted(metrics.measure(query(ours, since))) == Compared("error-rate", "2", 0.0, 10)


def test_servers_that_are_out_of_sight_are_a_problem_whatever_they_answered(
    serve: Serve, metrics: PrometheusMetrics
) -> None:
    server = serve("2")
    since = begin(server)
    server.answer(1000)
    server.scraped()
    server.go()
    seen = metrics.measure(query(server, since))
    assert seen.value is None
    assert "no server of" in seen.problem
    assert "is scraped now" in seen.problem


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("noria_request_errors_total", "NaN"), ("noria_request_errors_total", "-5")],
)
def test_errors_that_are_no_count_are_a_problem(
    serve: Serve, metrics: PrometheusMetrics, name: str, wrong: str
) -> None:
    server = serve("2")
    since = begin(server)

    def altered(text: str) -> str:
        lines = text.splitlines(keepends=True)
        return "".join(
            f"{line.rsplit(' ', 1)[0]} {wrong}\n" if line.startswith(name) else line
            for line in lines
        )

    server.alter = altered
    server.answer(100)
    server.scraped()
    seen = metrics.measure(query(server, since))
    assert seen.value is None
    assert "which is no count" in seen.problem


def test_errors_that_nobody_scrapes_are_a_problem_and_not_zero(
    serve: Serve, metrics: PrometheusMetrics
) -> None:
    server = serve("2")
    since = begin(server)
    server.alter = lambda text: "".join(
        line for line in text.splitlines(keepends=True) if "request_errors" not in line
    )
    server.answer(100)
    server.scraped()
    seen = metrics.measure(query(server, since))
    assert seen.value is None
    assert "nan of 100 requests of v2 failed" in seen.problem


def test_names_with_quotes_select_what_they_say(serve: Serve, metrics: PrometheusMetrics) -> None:
    server = serve('2"} or vector(1) #', model='a"b')
    since = begin(server)
    server.answer(3)
    server.scraped()
    assert metrics.measure(query(server, since)).samples == 3


def test_a_step_that_begins_in_the_future_has_no_data(
    serve: Serve, metrics: PrometheusMetrics
) -> None:
    server = serve("2")
    later = now() + timedelta(hours=1)
    assert counted(metrics.measure(query(server, later))) == Compared("error-rate", "2", None, 0)


def test_quality_is_asked_of_who_measures_it(serve: Serve, hub: Hub) -> None:
    quality = FakeMetrics()
    quality.publish(Compared("auc", "2", 0.7, 900))
    quality.publish(Compared(LABELLED_ROWS, "1", 12.0, 12))
    since = now()
    with contextlib.closing(
        PrometheusMetrics(hub.url, clock=WallClock(), quality=quality)
    ) as metrics:
        assert metrics.measure(MetricQuery("m", "2", "auc", since)).value == 0.7
        assert metrics.measure(MetricQuery("m", "1", LABELLED_ROWS, since)).samples == 12
        assert metrics.signals("m") == ()


def test_a_query_that_prometheus_refuses_is_an_error(hub: Hub) -> None:
    with (
        PrometheusClient(hub.url) as client,
        pytest.raises(MetricsError, match=r"refuses the query \(400\).*parse error"),
    ):
        client.query("sum(")
    with PrometheusClient(hub.url) as client, pytest.raises(MetricsError, match="no vector"):
        client.query("1")
