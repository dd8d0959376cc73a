"""One conformance suite a port: what the loop relies on, for every adapter to show.

Subclass a suite in a test module and give it a ``driver`` fixture::

    class TestMyTraffic(TrafficConformance):
        @pytest.fixture
        def driver(self, tmp_path):
            return MyTrafficDriver(tmp_path)

A driver holds the adapter as ``port`` and plays the world behind it: it lets a
run end, a version get ready, a measurement appear. The suites need no pytest.
"""

from __future__ import annotations

from noria.loop.conformance.clock import ClockConformance
from noria.loop.conformance.metrics import MetricsConformance, MetricsDriver
from noria.loop.conformance.pipelines import PipelinesConformance, PipelinesDriver
from noria.loop.conformance.registry import RegistryConformance, RegistryDriver
from noria.loop.conformance.store import StoreConformance, StoreDriver
from noria.loop.conformance.traffic import TrafficConformance, TrafficDriver

__all__ = [
    "ClockConformance",
    "MetricsConformance",
    "MetricsDriver",
    "PipelinesConformance",
    "PipelinesDriver",
    "RegistryConformance",
    "RegistryDriver",
    "StoreConformance",
    "StoreDriver",
    "TrafficConformance",
    "TrafficDriver",
]
