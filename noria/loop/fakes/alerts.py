"""Alerts kept in memory."""

from __future__ import annotations

from noria.loop.state import Alert


class FakeAlerts:
    """Keeps the alerts that stand, by model and name."""

    def __init__(self) -> None:
        self.standing: dict[tuple[str, str], Alert] = {}

    def raise_alert(self, model: str, alert: Alert) -> None:
        """Keep an alert."""
        self.standing[model, alert.name] = alert

    def clear_alert(self, model: str, name: str) -> None:
        """Drop it."""
        self.standing.pop((model, name), None)
