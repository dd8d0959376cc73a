"""Reads a server's ``/metrics``: what the analysis of a rollout compares.

Counters only grow while a server lives; a measurement over a time is the
difference of two snapshots. Quantiles come from the histogram's buckets, linear
within a bucket, as Prometheus' ``histogram_quantile`` does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from noria.errors import MetricsError

_SAMPLE: Final = re.compile(r"^(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)$")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_FAULT: Final = 500


@dataclass(frozen=True, slots=True)
class ServingSnapshot:
    """What one version has answered so far. Latencies are seconds.

    ``errors`` are the server's own faults (5xx); a refused request is the
    client's. ``buckets`` are (upper bound, requests at most that slow) pairs,
    cumulative, the last bound infinite. ``p50`` and ``p99`` are NaN without a
    request.
    """

    requests: int = 0
    errors: int = 0
    rows: int = 0
    buckets: tuple[tuple[float, int], ...] = field(default=())

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
        if restarted or not earlier.buckets:
            return self
        before = dict(earlier.buckets)
        return ServingSnapshot(
            self.requests - earlier.requests,
            self.errors - earlier.errors,
            self.rows - earlier.rows,
            tuple((bound, count - before.get(bound, 0)) for bound, count in self.buckets),
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
        )


def read_serving_metrics(url: str, *, timeout: float = 2.0) -> ServingSnapshot:
    """Read one server's metrics, all protocols together.

    Args:
        url: The server's address, with or without ``/metrics``.
        timeout: Seconds.

    Raises:
        MetricsError: The server does not answer, or not with its metrics.
    """
    where = url.rstrip("/").removesuffix("/metrics") + "/metrics"
    try:
        answer = httpx.get(where, timeout=timeout, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise MetricsError(f"{where}: {error}") from error
    return parse_serving_metrics(answer.text)


def parse_serving_metrics(text: str) -> ServingSnapshot:
    """Read the text of ``/metrics``.

    Raises:
        MetricsError: It is not that of a Noria model server.
    """
    requests = errors = rows = 0
    buckets: dict[float, int] = {}
    known = False
    for name, labels, value in _samples(text):
        if name == "noria_requests_total":
            requests += int(value)
            errors += int(value) if int(labels["code"]) >= _FAULT else 0
        elif name == "noria_rows_total":
            known = True
            rows += int(value)
        elif name == "noria_request_seconds_bucket":
            bound = float(labels["le"])
            buckets[bound] = buckets.get(bound, 0) + int(value)
    if not known:
        raise MetricsError("noria_rows_total is missing: these are not a model server's metrics")
    return ServingSnapshot(requests, errors, rows, tuple(sorted(buckets.items())))


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is not None:
            yield found["name"], dict(_LABEL.findall(found["labels"])), float(found["value"])


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
