"""What the receiver counts, for Prometheus. Labels are bounded: nothing a sender wrote is one."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from monitoring.webhook.payload import Delivery
from monitoring.webhook.receiver import Taken

KIND: Final = CONTENT_TYPE_LATEST.encode()


class Counters:
    """The receiver's metrics, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._deliveries = Counter(
            "noria_webhook_deliveries",
            "Deliveries by answer",
            ("code",),
            registry=self._registry,
        )
        self._alerts = Counter(
            "noria_webhook_alerts",
            "Alerts by what became of them",
            ("source", "outcome"),
            registry=self._registry,
        )
        self._truncated = Counter(
            "noria_webhook_truncated_alerts",
            "Alerts that the sender cut off",
            ("source",),
            registry=self._registry,
        )
        self._last = Gauge(
            "noria_webhook_last_delivery_timestamp_seconds",
            "When the last delivery was taken",
            registry=self._registry,
        )

    def answered(self, code: int) -> None:
        """Count a delivery's answer."""
        self._deliveries.labels(str(code)).inc()

    def took(self, delivery: Delivery, taken: Taken, now: float) -> None:
        """Count what became of a delivery. ``now``: epoch seconds."""
        outcomes = {
            "signal": taken.signals,
            "notice": taken.notices,
            "repeated": taken.repeated,
            "unknown-model": len(taken.unknown),
        }
        for outcome, count in outcomes.items():
            self._alerts.labels(delivery.source, outcome).inc(count)
        self._truncated.labels(delivery.source).inc(delivery.truncated)
        self._last.set(now)

    def text(self) -> bytes:
        """Return the text format."""
        return generate_latest(self._registry)
