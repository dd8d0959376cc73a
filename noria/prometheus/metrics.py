"""The ``Metrics`` port on Prometheus: errors and latency of the servers, by version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from noria.errors import MetricsError
from noria.loop.ports import ERROR_RATE, Clock, Metrics
from noria.loop.values import Compared, MetricQuery, Signal, finite
from noria.measures.proportion import exact, quantile_ranks, samples_for_quantile
from noria.prometheus import counting
from noria.prometheus.client import Access, PrometheusClient
from noria.prometheus.counting import Counting
from noria.spec.runtime import NORIA, MetricNames

_QUANTILES: Final = {"latency-p50": 0.5, "latency-p99": 0.99}
_VALUE, _LOW, _HIGH = "quantile", "quantile-low", "quantile-high"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one version answered; ``value`` is None without a request."""

    value: float | None
    samples: int
    problem: str = ""
    low: float | None = None
    high: float | None = None
    lacking: str = ""


class PrometheusMetrics:
    """Measures what the model servers count, as Prometheus has scraped it.

    The definitions are those of the one-machine adapter: the error rate is the
    share of requests that failed (5xx), its samples are the rows answered and one
    per failure; the samples of a latency are the rows answered. Their intervals are of
    the requests: exact for the rate, by the order of the answers for a latency. Rows are counted
    between scrapes, so they are a lower bound (``noria.prometheus.counting`` has
    the arithmetic): a step takes up to two scrape intervals longer, never fewer rows.

    A version whose servers are all out of sight now gives a ``problem``, whatever was
    counted before: what can't be seen any more must not pass.

    Args:
        url: Prometheus' address.
        clock: The loop's time; only differences of it are used.
        quality: Measures everything else (the model's quality, labelled rows); None:
            such a metric is a problem.
        signals: Whose signals are relayed. None, the default: nobody's, because rules on
            the monitor's metrics raise alerts that bring them to the inbox (the webhook).
        namespace: Only series with this ``namespace`` label; empty: any.
        names: The series that the servers count in.
        timeout: Seconds for one query.
        access: Token and CA files.

    Raises:
        InvalidInput: The address is not an http(s) URL.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        quality: Metrics | None = None,
        signals: Metrics | None = None,
        namespace: str = "",
        names: MetricNames = NORIA,
        timeout: float = 5.0,
        access: Access | None = None,
    ) -> None:
        self._client = PrometheusClient(url, timeout=timeout, access=access)
        self._clock = clock
        self._quality = quality
        self._signals = signals
        self._names = names
        self._labels: Mapping[str, str] = {"namespace": namespace} if namespace else {}

    def measure(self, query: MetricQuery) -> Compared:
        """Measure once, now.

        Raises:
            MetricsError, Unavailable: Prometheus, or who measures the quality, doesn't answer.
        """
        if query.metric != ERROR_RATE and query.metric not in _QUANTILES:
            return self._other(query)
        now = self._clock.now()
        seen = self._seen(query, query.version, now)
        measured = Compared(
            query.metric,
            query.version,
            seen.value,
            seen.samples,
            seen.low,
            seen.high,
            problem=seen.problem,
            lacking=seen.lacking,
        )
        if query.champion is None:
            return measured
        base = self._seen(query, query.champion, now)
        return msgspec.structs.replace(
            measured,
            baseline=base.value,
            baseline_samples=base.samples,
            baseline_low=base.low,
            baseline_high=base.high,
            baseline_lacking=base.lacking,
            problem="; ".join(said for said in (seen.problem, base.problem) if said),
        )

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return what ``signals`` tells; nothing when alerts bring the signals.

        Raises:
            MetricsError, Unavailable: The source doesn't answer.
        """
        return () if self._signals is None else self._signals.signals(model)

    def close(self) -> None:
        """Close the connections to Prometheus."""
        self._client.close()

    def _other(self, query: MetricQuery) -> Compared:
        if self._quality is not None:
            return self._quality.measure(query)
        said = f"Prometheus has no {query.metric} of rows, and nobody else was named to measure it"
        return Compared(query.metric, query.version, None, 0, problem=said)

    def _seen(self, query: MetricQuery, version: str, now: datetime) -> _Seen:
        over = now - query.since
        if over.total_seconds() <= 0:
            return _Seen(None, 0)
        quantile = _QUANTILES.get(query.metric)
        if quantile is not None and not self._names.seconds:
            return _Seen(None, 0, "the file names no histogram of its servers' seconds")
        asked = Counting(query.model, version, over, self._labels, self._names)
        found = self._quantities(asked.expression({} if quantile is None else {_VALUE: quantile}))
        named = bool(self._names.errors)
        errors = found.get(counting.ERRORS, math.nan) if named else 0.0
        rows = _rows(found)
        if not self._names.samples and math.isfinite(errors):
            rows = max(0, rows - math.ceil(errors))
        requests = found.get(counting.REQUESTS, 0.0)
        if not requests:  # absent or zero
            return _Seen(None, rows)
        most = requests if quantile is None else math.inf
        if not (0 <= errors <= most and errors < math.inf and requests < math.inf):  # so is NaN
            said = f"{errors:g} of {requests:g} requests of v{version} failed, which is no count"
            return _Seen(None, rows, said)
        if not found.get(counting.LIVE):
            said = f"no server of {query.model} version {version} is scraped now"
            return _Seen(None, rows, said)
        if quantile is None and not named:
            return _Seen(None, rows, lacking="can't be measured: the file names no errors")
        if quantile is None:
            low, high = exact(errors, requests)
            return _Seen(errors / requests, rows + int(errors), low=low, high=high)
        value = finite(found.get(_VALUE))
        ranks = quantile_ranks(quantile, int(requests))
        if value is None or ranks is None:
            needed = samples_for_quantile(quantile)
            return _Seen(value, rows, lacking=f"needs {needed} requests, has {requests:.0f}")
        around = self._quantities(asked.expression(dict(zip((_LOW, _HIGH), ranks, strict=True))))
        return _Seen(value, rows, low=finite(around.get(_LOW)), high=finite(around.get(_HIGH)))

    def _quantities(self, expression: str) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for sample in self._client.query(expression):
            kind = sample.labels.get(counting.KIND, "")
            if kind in found or set(sample.labels) != {counting.KIND}:
                raise MetricsError(
                    f"{self._client.url}: several series where one was asked for: {sample.labels}"
                )
            found[kind] = sample.value
        return found


def _rows(found: Mapping[str, float]) -> int:
    """Return the rows; absent or NaN counts as 0, so no step passes on it."""
    value = found.get(counting.ROWS, 0.0)
    return int(value) if math.isfinite(value) and value > 0 else 0
