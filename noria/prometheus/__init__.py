"""Prometheus as a source of measurements: a client of its HTTP API, and the ``Metrics`` port."""

from __future__ import annotations

from noria.prometheus.client import PrometheusClient, Sample
from noria.prometheus.metrics import PrometheusMetrics

__all__ = ["PrometheusClient", "PrometheusMetrics", "Sample"]
