"""The ``Metrics`` port without Prometheus: what the model servers themselves have counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeAlias

import msgspec

from noria.errors import MetricsError
from noria.loop.ports import ERROR_RATE, Metrics
from noria.loop.values import Compared, MetricQuery, Signal, finite
from noria.measures.proportion import exact, quantile_ranks, samples_for_quantile
from noria.spec.runtime import NORIA, MetricNames
from serving.scrape import ServingSnapshot, read_serving_metrics

_QUANTILES: Final = {"latency-p50": 0.5, "latency-p99": 0.99}


class CountedMetrics:
    """Measures errors and latencies on the servers' counters, all else on the monitor.

    Servers only count up, so "since" needs a count to subtract: that of the first
    time somebody asked since then. After a restart of this process the counting
    starts again, which makes a step take longer, never shorter.

    The error rate is the share of requests that failed (5xx). A failed request has no
    rows and counts as one sample beside the rows answered: a candidate that answers
    nothing right must not look like one that nobody asked. Its interval is that of so
    many requests, the interval of a latency that of so many answers in their order.

    Args:
        quality: Measures the model's quality, and relays the signals.
        servers: Returns the addresses of a version's servers that can answer now.
        names: The series that the servers count in.
    """

    def __init__(
        self,
        quality: Callable[[], Metrics],
        servers: Callable[[str, str], Collection[str]],
        names: MetricNames = NORIA,
    ) -> None:
        self._quality = quality
        self._servers = servers
        self._names = names
        self._steps: dict[tuple[str, str], _Step] = {}

    def measure(self, query: MetricQuery) -> Compared:
        """Measure once, now.

        Raises:
            MetricsError, Unavailable: The source doesn't answer.
        """
        if query.metric != ERROR_RATE and query.metric not in _QUANTILES:
            return self._quality().measure(query)
        seen = self._counted(query, query.version)
        champion = None if query.champion is None else self._counted(query, query.champion)
        value, low, high, lacking = self._measured(query.metric, seen)
        measured = Compared(
            query.metric,
            query.version,
            value,
            self._samples(query.metric, seen),
            low,
            high,
            lacking=lacking,
        )
        if champion is None:
            return measured
        base, base_low, base_high, base_lacking = self._measured(query.metric, champion)
        return msgspec.structs.replace(
            measured,
            baseline=base,
            baseline_low=base_low,
            baseline_high=base_high,
            baseline_samples=self._samples(query.metric, champion),
            baseline_lacking=base_lacking,
        )

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return the monitor's signals.

        Raises:
            MetricsError, Unavailable: The monitor doesn't answer.
        """
        return self._quality().signals(model)

    def _counted(self, query: MetricQuery, version: str) -> ServingSnapshot:
        servers = self._servers(query.model, version)
        if not servers:
            raise MetricsError(f"{query.model} version {version}: no server of it can answer")
        step = self._steps.get((query.model, version))
        if step is None or step.since != query.since:
            step = self._steps[query.model, version] = _Step(query.since)
        return step.look({url: read_serving_metrics(url, self._names) for url in servers})

    def _samples(self, metric: str, seen: ServingSnapshot) -> int:
        """Return the rows answered, and for the error rate the failed requests too."""
        rows = seen.rows if self._names.samples else max(0, seen.rows - seen.errors)
        return rows + seen.errors if metric == ERROR_RATE else rows

    def _measured(self, metric: str, seen: ServingSnapshot) -> _Measured:
        """Return the value, its interval, and what the requests lack for one."""
        if metric == ERROR_RATE:
            return self._error_rate(seen)
        if not self._names.seconds:
            raise MetricsError(f"{metric}: the file names no histogram of its servers' seconds")
        if not seen.timed:
            return None, None, None, _absent(seen)
        share = _QUANTILES[metric]
        value = seen.quantile(share)
        ranks = quantile_ranks(share, seen.timed)
        if math.isnan(value) or ranks is None:
            needed = samples_for_quantile(share)
            return finite(value), None, None, f"needs {needed} requests, has {seen.timed}"
        return value, seen.quantile(ranks[0]), seen.quantile(ranks[1]), ""

    def _error_rate(self, seen: ServingSnapshot) -> _Measured:
        names = self._names
        if not seen.requests:
            return None, None, None, _absent(seen)
        if not names.errors:
            return None, None, None, "can't be measured: the file names no errors"
        unseen = [one.name for one in names.failed if one.name in seen.missing]
        if unseen:
            raise MetricsError(
                f"the servers' metrics have no {', '.join(unseen)}",
                fix="let it begin at zero, or name another: spec.serving.runtime.metrics.errors",
            )
        if seen.errors > seen.requests:
            raise MetricsError(
                f"{seen.errors} of {seen.requests} requests failed, which is no count",
                fix="spec.serving.runtime.metrics.requests must count failed ones too",
            )
        return seen.errors / seen.requests, *exact(seen.errors, seen.requests), ""


_Measured: TypeAlias = tuple[float | None, float | None, float | None, str]


def _absent(seen: ServingSnapshot) -> str:
    """Say why there is no data, where it is for a series that is not there."""
    return f"has no data: no {', '.join(sorted(seen.missing))}" if seen.missing else ""


@dataclass(slots=True)
class _Step:
    """What the servers of a version have counted since a moment, also those that are gone."""

    since: datetime
    last: dict[str, ServingSnapshot] = field(default_factory=dict)
    total: ServingSnapshot = field(default_factory=ServingSnapshot)

    def look(self, now: dict[str, ServingSnapshot]) -> ServingSnapshot:
        """Add what is new. A server that appears later has counted nothing from before."""
        for url, seen in now.items():
            before = self.last.get(url, ServingSnapshot() if self.last else seen)
            self.total = self.total.plus(seen.since(before))
        missing = frozenset[str]().union(*(seen.missing for seen in now.values()))
        self.total = replace(self.total, missing=missing)
        self.last |= now
        return self.total
