"""Reads a server's ``/metrics``: what the analysis of a rollout compares.

Counters only grow while a server lives; a measurement over a time is the
difference of two snapshots. Quantiles come from the histogram's buckets, linear
within a bucket, as Prometheus' ``histogram_quantile`` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from noria.errors import MetricsError, shorten
from noria.spec.runtime import NORIA, MetricNames
from noria.spec.series import Series

_PATH: Final = "/metrics"
_MAX_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class ServingSnapshot:
    """What one version has answered so far. Latencies are seconds.

    ``errors`` are the server's own faults (5xx); a refused request is the
    client's. ``buckets`` are (upper bound, requests at most that slow) pairs,
    cumulative, the last bound infinite. ``p50`` and ``p99`` are NaN without a
    request. ``rows`` are requests, failed ones too, where no samples are named.
    ``missing`` are series that were asked for and are not there.
    """

    requests: int = 0
    errors: int = 0
    rows: int = 0
    buckets: tuple[tuple[float, int], ...] = field(default=())
    missing: frozenset[str] = frozenset()

    @property
    def timed(self) -> int:
        """Requests that have a latency."""
        return self.buckets[-1][1] if self.buckets else 0

    @property
    def p50(self) -> float:
        """Median latency."""
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        """The latency that 99 of 100 requests do not exceed."""
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """Return a latency quantile; the last finite bound when it lies above that."""
        return _quantile(self.buckets, share)

    def since(self, earlier: ServingSnapshot) -> ServingSnapshot:
        """Return what happened after ``earlier``; everything, if the server started anew."""
        restarted = self.requests < earlier.requests or self.rows < earlier.rows
        if restarted:
            return self
        before = dict(earlier.buckets)
        return ServingSnapshot(
            self.requests - earlier.requests,
            self.errors - earlier.errors,
            self.rows - earlier.rows,
            tuple((bound, count - before.get(bound, 0)) for bound, count in self.buckets),
            self.missing,
        )

    def plus(self, other: ServingSnapshot) -> ServingSnapshot:
        """Return both together."""
        buckets = dict(self.buckets)
        for bound, count in other.buckets:
            buckets[bound] = buckets.get(bound, 0) + count
        return ServingSnapshot(
            self.requests + other.requests,
            self.errors + other.errors,
            self.rows + other.rows,
            tuple(sorted(buckets.items())),
            other.missing,
        )


def read_serving_metrics(
    url: str, names: MetricNames = NORIA, *, timeout: float = 2.0
) -> ServingSnapshot:
    """Read one server's metrics, whatever else their labels tell apart added up.

    Args:
        url: The server's address; without a path it is ``/metrics`` there.
        names: The series that the server counts in.
        timeout: Seconds.

    Raises:
        MetricsError: The server does not answer, or not with its metrics.
    """
    where = url if urlsplit(url).path.strip("/") else url.rstrip("/") + _PATH
    try:
        # The certificates of the machine take longer to read than a server on it to answer.
        verify = where.startswith("https:")
        answer = httpx.get(where, timeout=timeout, trust_env=False, verify=verify)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise MetricsError(f"{where}: {error}") from error
    if len(answer.content) > _MAX_BYTES:
        raise MetricsError(f"{where}: the metrics have over {_MAX_BYTES} bytes")
    return parse_serving_metrics(answer.text, names)


def parse_serving_metrics(text: str, names: MetricNames = NORIA) -> ServingSnapshot:
    """Read the text of ``/metrics``.

    A counter that is chosen by its labels is zero where its name is there without them.

    Raises:
        MetricsError: It can't be read, or none of the series is there.
    """
    by_name: dict[str, list[Sample]] = {}
    buckets: dict[float, int] = {}
    try:
        for family in text_string_to_metric_families(text):
            for name in (family.name, f"{family.name}_total"):
                by_name.setdefault(name, [])
            for sample in family.samples:
                by_name.setdefault(sample.name, []).append(sample)
        for sample in by_name.get(f"{names.seconds}_bucket", ()):
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0) + int(sample.value)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise MetricsError(f"the metrics can't be read: {shorten(str(error))}") from error
    asked = (*names.counted, *names.failed, *names.answered)
    missing = frozenset(one.name for one in asked if one.name not in by_name)
    rows = names.answered or names.counted
    if missing.issuperset(one.name for one in rows):
        raise MetricsError(
            f"{', '.join(one.name for one in rows)} is missing: these are not a model server's "
            "metrics",
            fix="name the series that it counts in: spec.serving.runtime.metrics",
        )
    return ServingSnapshot(
        _total(names.counted, by_name),
        _total(names.failed, by_name),
        _total(rows, by_name),
        tuple(sorted(buckets.items())),
        missing,
    )


def _total(series: Sequence[Series], by_name: dict[str, list[Sample]]) -> int:
    found = (
        sample.value
        for one in series
        for sample in by_name.get(one.name, ())
        if all(matcher.fits(sample.labels) for matcher in one.matchers)
    )
    total = sum(found)
    if not math.isfinite(total) or total < 0:
        names = ", ".join(one.name for one in series)
        raise MetricsError(f"{names}: {total:g} is no count")
    return int(total)


def _quantile(buckets: Sequence[tuple[float, int]], share: float) -> float:
    if not buckets or buckets[-1][1] == 0:
        return math.nan
    rank = share * buckets[-1][1]
    lower, below = 0.0, 0
    for bound, count in buckets:
        if count >= rank and count > below:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower
