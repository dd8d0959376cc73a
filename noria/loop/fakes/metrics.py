"""Measurements and signals that a test publishes."""

from __future__ import annotations

import msgspec

from noria.loop.values import Measurement, MetricQuery, Signal


class FakeMetrics:
    """A ``Metrics`` port. What is published for a version and metric is what is measured."""

    def __init__(self) -> None:
        self.queries: list[MetricQuery] = []
        self._published: dict[tuple[str, str], Measurement] = {}
        self._signals: dict[str, list[Signal]] = {}

    def measure(self, query: MetricQuery) -> Measurement:
        """Return what was published, with the champion's as its baseline."""
        self.queries.append(query)
        seen = self._published.get((query.version, query.metric))
        seen = seen or Measurement(query.metric, query.version, None, 0)
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

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return every signal that was published and not withdrawn."""
        return tuple(self._signals.get(model, ()))

    def publish(self, measurement: Measurement) -> None:
        """Driver: set what is measured from now on."""
        self._published[measurement.version, measurement.metric] = measurement

    def forget(self) -> None:
        """Driver: no version has any data."""
        self._published.clear()

    def signal(self, model: str, signal: Signal) -> None:
        """Driver: add a signal."""
        self._signals.setdefault(model, []).append(signal)
