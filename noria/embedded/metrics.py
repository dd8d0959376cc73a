"""The ``Metrics`` port of one machine: the monitor's quality, the servers' faults and latency."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Final

from monitoring.adapter import MonitorMetrics
from noria.errors import MetricsError
from noria.loop.ports import ERROR_RATE
from noria.loop.values import Measurement, MetricQuery, Signal
from serving.scrape import ServingSnapshot, read_serving_metrics

_QUANTILES: Final = {"latency-p50": 0.5, "latency-p99": 0.99}


class LocalMetrics:
    """Measures on one machine.

    Servers only count up, so "since" needs a count to subtract: that of the first
    time somebody asked since then. After a restart of this process the counting
    starts again, which makes a step take longer, never shorter.

    The error rate is the share of requests that failed (5xx). A failed request has no
    rows and counts as one sample beside the rows answered: a candidate that answers
    nothing right must not look like one that nobody asked.

    Args:
        monitor: The model's quality.
        server: Returns the address of a version's own server, None when there is none.
    """

    def __init__(
        self, monitor: Callable[[], MonitorMetrics], server: Callable[[str, str], str | None]
    ) -> None:
        self._monitor = monitor
        self._server = server
        self._first: dict[tuple[str, str], tuple[datetime, ServingSnapshot]] = {}

    def measure(self, query: MetricQuery) -> Measurement:
        """Measure once, now.

        Raises:
            MetricsError, Unavailable: The source doesn't answer.
        """
        if query.metric != ERROR_RATE and query.metric not in _QUANTILES:
            return self._monitor().measure(query)
        seen = self._counted(query, query.version)
        value = _value(query.metric, seen)
        if query.champion is None:
            return Measurement(query.metric, query.version, value, _samples(query.metric, seen))
        champion = self._counted(query, query.champion)
        return Measurement(
            query.metric,
            query.version,
            value,
            _samples(query.metric, seen),
            baseline=_value(query.metric, champion),
            baseline_samples=_samples(query.metric, champion),
        )

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return the monitor's signals.

        Raises:
            MetricsError, Unavailable: The monitor doesn't answer.
        """
        return self._monitor().signals(model)

    def _counted(self, query: MetricQuery, version: str) -> ServingSnapshot:
        now = self._scrape(query.model, version)
        since, first = self._first.get((query.model, version), (None, now))
        if since != query.since:
            since, first = query.since, now
            self._first[query.model, version] = (query.since, now)
        return now.since(first)

    def _scrape(self, model: str, version: str) -> ServingSnapshot:
        url = self._server(model, version)
        if url is None:
            raise MetricsError(f"{model} version {version}: its server does not listen")
        return read_serving_metrics(url)


def _samples(metric: str, seen: ServingSnapshot) -> int:
    """Return the rows answered, and for the error rate the failed requests too."""
    return seen.rows + seen.errors if metric == ERROR_RATE else seen.rows


def _value(metric: str, seen: ServingSnapshot) -> float | None:
    """Return the metric, None without a request."""
    if not seen.requests:
        return None
    if metric == ERROR_RATE:
        return seen.errors / seen.requests
    value = seen.quantile(_QUANTILES[metric])
    return None if math.isnan(value) else value
