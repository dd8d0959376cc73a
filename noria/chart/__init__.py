"""The Helm chart's values as a model, and what is generated from it and from other parts."""

from __future__ import annotations

from noria.chart.values import ChartValues

__all__ = ["ChartValues"]
