"""What a rollout is judged by on one machine: counts since the step began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from monitoring.adapter import MonitorMetrics
from monitoring.client import MonitorClient
from noria.errors import MetricsError
from noria.loop.values import Compared, MetricQuery
from noria.measures.proportion import exact
from noria.prometheus.counted import CountedMetrics

if TYPE_CHECKING:
    from conftest import Counting

STEP_1 = datetime(2026, 1, 1, tzinfo=UTC)
STEP_2 = STEP_1 + timedelta(hours=1)


def metrics(servers: dict[str, Counting]) -> CountedMetrics:
    def server(_: str, version: str) -> list[str]:
        return [servers[version].url] if version in servers else []

    def no_monitor() -> MonitorMetrics:
        return MonitorMetrics(MonitorClient("http://127.0.0.1:1"))

    return CountedMetrics(no_monitor, server)


def query(metric: str = "error-rate", since: datetime = STEP_1) -> MetricQuery:
    return MetricQuery("m", "2", metric, since, champion="1")


def test_what_was_counted_before_the_first_question_does_not_count(
    servers: dict[str, Counting],
) -> None:
    servers["2"].answer(100, code=500)
    measured = metrics(servers).measure(query())
    assert (measured.value, measured.samples, measured.baseline) == (None, 0, None)


def test_candidate_and_champion_are_counted_over_the_same_time(
    servers: dict[str, Counting],
) -> None:
    servers["1"].answer(50, code=500)
    found = metrics(servers)
    found.measure(query())
    servers["1"].answer(40)
    servers["2"].answer(9)
    servers["2"].answer(1, code=500)
    measured = found.measure(query())
    low, high = exact(1, 10)
    base_low, base_high = exact(0, 40)
    assert measured == Compared(
        "error-rate",
        "2",
        0.1,
        10,
        low,
        high,
        baseline=0.0,
        baseline_low=base_low,
        baseline_high=base_high,
        baseline_samples=40,
    )
    assert found.measure(query()) == measured


def test_a_new_step_starts_a_new_count(servers: dict[str, Counting]) -> None:
    found = metrics(servers)
    found.measure(query())
    servers["2"].answer(10, code=500)
    assert found.measure(query()).value == 1.0
    assert found.measure(query(since=STEP_2)).samples == 0
    servers["2"].answer(5)
    measured = found.measure(query(since=STEP_2))
    assert (measured.value, measured.samples) == (0.0, 5)


def test_metrics_of_one_step_share_their_count(servers: dict[str, Counting]) -> None:
    found = metrics(servers)
    found.measure(query("error-rate"))
    servers["2"].answer(98, seconds=0.001)
    servers["2"].answer(2, seconds=0.4)
    assert found.measure(query("error-rate")).samples == 100
    slow, usual = found.measure(query("latency-p99")), found.measure(query("latency-p50"))
    assert slow.value is not None
    assert usual.value is not None
    assert slow.value > 0.1 > 0.01 > usual.value
    assert (slow.low, slow.lacking) == (None, "needs 368 requests, has 100")
    assert usual.low is not None
    assert usual.high is not None
    assert usual.low < usual.value < usual.high
    servers["2"].answer(400, seconds=0.001)
    slow = found.measure(query("latency-p99"))
    assert not slow.lacking
    assert slow.high is not None
    assert slow.high > 0.1


def test_a_server_that_was_started_again_counts_from_nothing(
    servers: dict[str, Counting],
) -> None:
    servers["2"].answer(1000)
    found = metrics(servers)
    found.measure(query())
    servers["2"].restart()
    servers["2"].answer(7)
    assert found.measure(query()).samples == 7


def test_a_version_without_a_server_is_an_error_not_a_pass(servers: dict[str, Counting]) -> None:
    found = metrics({"1": servers["1"]})
    with pytest.raises(MetricsError, match="m version 2: no server of it can answer"):
        found.measure(query())


def test_the_monitor_is_asked_for_everything_else(servers: dict[str, Counting]) -> None:
    with pytest.raises(MetricsError, match="auc: the monitor at http://"):
        metrics(servers).measure(query("auc"))


def test_several_servers_are_counted_together_also_one_that_comes_and_one_that_goes(
    servers: dict[str, Counting],
) -> None:
    answering = [servers["1"].url]
    found = CountedMetrics(lambda: MonitorMetrics(MonitorClient("http://127.0.0.1:1")),
                           lambda *_: answering)  # fmt: skip
    alone = MetricQuery("m", "2", "error-rate", STEP_1)
    servers["1"].answer(7)
    assert found.measure(alone).samples == 0

    servers["1"].answer(4)
    servers["2"].answer(5, code=500)
    answering.append(servers["2"].url)
    assert found.measure(alone) == Compared("error-rate", "2", 5 / 9, 9, *exact(5, 9))

    answering.pop(0)
    servers["2"].restart()
    servers["2"].answer(1)
    assert found.measure(alone) == Compared("error-rate", "2", 0.5, 10, *exact(5, 10))


def test_no_server_that_can_answer_is_no_good_number() -> None:
    found = CountedMetrics(
        lambda: MonitorMetrics(MonitorClient("http://127.0.0.1:1")), lambda *_: ()
    )
    with pytest.raises(MetricsError, match="no server of it can answer"):
        found.measure(query())
