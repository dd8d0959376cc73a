"""Measurements and signals that a test publishes, and labels that come by the clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from noria.loop.ports import LABELLED_ROWS, Clock
from noria.loop.values import Compared, MetricQuery, Signal

_DAY: Final = timedelta(days=1)


class FakeMetrics:
    """A ``Metrics`` port. What is published for a version and metric is what is measured.

    ``labels_a_day`` come evenly with ``clock``'s time, besides what ``label`` adds; a published
    number of labelled rows takes their place.
    """

    def __init__(self, clock: Clock | None = None, labels_a_day: float = 0.0) -> None:
        self.queries: list[MetricQuery] = []
        self.labels_a_day = labels_a_day
        self._clock = clock
        self._labels: list[tuple[datetime, int]] = []
        self._published: dict[tuple[str, str], Compared] = {}
        self._signals: dict[str, list[Signal]] = {}

    def measure(self, query: MetricQuery) -> Compared:
        """Return what was published, with the champion's as its baseline."""
        self.queries.append(query)
        seen = self._published.get((query.version, query.metric))
        if seen is None and query.metric == LABELLED_ROWS:
            seen = self._labelled(query)
        seen = seen or Compared(query.metric, query.version, None, 0)
        if query.champion is None:
            return seen
        base = self._published.get((query.champion, query.metric))
        if base is None or seen.baseline is not None:
            return seen
        return msgspec.structs.replace(
            seen,
            baseline=base.value,
            baseline_low=base.low,
            baseline_high=base.high,
            baseline_samples=base.samples,
        )

    def _labelled(self, query: MetricQuery) -> Compared:
        rows = sum(rows for at, rows in self._labels if at >= query.since)
        if self._clock is not None:
            passed = max(timedelta(0), self._clock.now() - query.since)
            rows += int(self.labels_a_day * (passed / _DAY))
        return Compared(query.metric, query.version, float(rows), rows)

    def label(self, at: datetime, rows: int) -> None:
        """Driver: so many rows got their label at this time."""
        self._labels.append((at, rows))

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return every signal that was published and not withdrawn."""
        return tuple(self._signals.get(model, ()))

    def publish(self, measurement: Compared) -> None:
        """Driver: set what is measured from now on."""
        self._published[measurement.version, measurement.metric] = measurement

    def forget(self) -> None:
        """Driver: no version has any data."""
        self._published.clear()

    def signal(self, model: str, signal: Signal) -> None:
        """Driver: add a signal."""
        self._signals.setdefault(model, []).append(signal)
