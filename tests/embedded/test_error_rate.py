"""A candidate that fails is judged by its failures, though they have no rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from monitoring.adapter import MonitorMetrics
from monitoring.client import MonitorClient
from noria.loop.analysis import judge
from noria.loop.values import Compared, MetricQuery, Verdict
from noria.prometheus.counted import CountedMetrics
from noria.spec import METRICS
from noria.spec.serving import Check

if TYPE_CHECKING:
    from conftest import Counting

QUERY = MetricQuery("m", "2", "error-rate", datetime(2026, 1, 1, tzinfo=UTC), champion="1")
CHECK = Check(metric="error-rate", max=0.01)


@pytest.fixture
def metrics(servers: dict[str, Counting]) -> CountedMetrics:
    """Metrics that were asked once: counting has begun."""
    made = CountedMetrics(
        lambda: MonitorMetrics(MonitorClient("http://127.0.0.1:1")),
        lambda _, version: [servers[version].url],
    )
    made.measure(QUERY)
    return made


def verdict(measured: Compared) -> Verdict:
    return judge(CHECK, METRICS[CHECK.metric], measured, "2", 500).verdict


def test_a_candidate_that_only_fails_is_given_up_before_the_step_has_its_rows(
    metrics: CountedMetrics, servers: dict[str, Counting]
) -> None:
    servers["2"].answer(5, code=500)
    measured = metrics.measure(QUERY)
    assert (measured.value, measured.samples) == (1.0, 5)
    assert verdict(measured) is Verdict.INCONCLUSIVE
    servers["2"].answer(1, code=503)
    assert verdict(metrics.measure(QUERY)) is Verdict.FAIL


def test_failures_of_the_champion_are_samples_too(
    metrics: CountedMetrics, servers: dict[str, Counting]
) -> None:
    servers["1"].answer(30)
    servers["1"].answer(10, code=500)
    measured = metrics.measure(QUERY)
    assert (measured.baseline, measured.baseline_samples) == (0.25, 40)


def test_refused_requests_are_no_evidence(
    metrics: CountedMetrics, servers: dict[str, Counting]
) -> None:
    servers["2"].answer(600, code=400)
    assert verdict(metrics.measure(QUERY)) is Verdict.INCONCLUSIVE
