"""Kubernetes Events about a Model: what the loop did, and what a person has to look at."""

from __future__ import annotations

from noria.kube.events import Events, EventType
from noria.loop.state import Alert
from noria.operator.resource import Resource


def tell(
    events: Events,
    resource: Resource,
    reason: str,
    message: str,
    kind: EventType = EventType.NORMAL,
) -> None:
    """Record an Event about a Model, on a best effort."""
    word = "".join(part.capitalize() for part in reason.split("-")) if "-" in reason else reason
    events.record(resource.body, word, message, kind)


class AlertEvents:
    """The ``Alerts`` port by Events. The condition ``Degraded`` repeats what stands."""

    def __init__(self, events: Events, resource: Resource) -> None:
        self._events = events
        self._resource = resource

    def raise_alert(self, model: str, alert: Alert) -> None:  # noqa: ARG002 - one Model's own
        """Record a warning."""
        tell(
            self._events,
            self._resource,
            "Alert",
            f"{alert.name}: {alert.text}",
            EventType.WARNING,
        )

    def clear_alert(self, model: str, name: str) -> None:  # noqa: ARG002 - one Model's own
        """Record that it is over."""
        tell(self._events, self._resource, "AlertOver", f"{name} is over")
