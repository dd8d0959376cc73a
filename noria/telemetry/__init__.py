"""What Prometheus is told about the loop: one model's state as metrics."""

from noria.telemetry.exposition import NAMES, Turned, render, render_all

__all__ = ["NAMES", "Turned", "render", "render_all"]
