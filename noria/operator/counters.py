"""What the operator tells Prometheus of itself, beside the loops of its Models."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

RESULTS: Final = ("done", "failed", "bug")


class Counters:
    """The operator's own metrics. Safe to use from many threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._denied = Counter(
            "noria_operator_denied",
            "Requests that the API server forbade: the roles are not what they should be",
            registry=self._registry,
        )
        self._cycles = Counter(
            "noria_operator_cycles",
            "Turns of all loops, by how they ended",
            ["result"],
            registry=self._registry,
        )
        self._leader = Gauge(
            "noria_operator_leader", "1 while this process acts", registry=self._registry
        )
        for result in RESULTS:
            self._cycles.labels(result)

    def denied(self) -> None:
        """Count a request that was forbidden."""
        self._denied.inc()

    def cycle(self, result: str) -> None:
        """Count a turn."""
        self._cycles.labels(result).inc()

    def leads(self, now: float) -> None:
        """Say whether this process leads: 1 or 0."""
        self._leader.set(now)

    def text(self) -> bytes:
        """Return all of it in the text format."""
        return generate_latest(self._registry)
