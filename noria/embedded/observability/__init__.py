"""``noria up --observability``: Prometheus, Alertmanager and the alert receiver beside the loop."""

from __future__ import annotations

from noria.embedded.observability.choice import Choice, Pace, choose, chosen
from noria.embedded.observability.servers import Observability

__all__ = ["Choice", "Observability", "Pace", "choose", "chosen"]
