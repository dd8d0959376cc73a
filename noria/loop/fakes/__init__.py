"""First-class fakes of the ports: in memory, faithful, driven by hand. For tests and trials."""

from __future__ import annotations

from noria.loop.fakes.alerts import FakeAlerts
from noria.loop.fakes.clock import FakeClock
from noria.loop.fakes.metrics import FakeMetrics
from noria.loop.fakes.model import sample_model
from noria.loop.fakes.pipelines import FakePipelines
from noria.loop.fakes.registry import FakeRegistry
from noria.loop.fakes.store import MemoryStore
from noria.loop.fakes.traffic import FakeTraffic
from noria.loop.fakes.world import FakeWorld

__all__ = [
    "FakeAlerts",
    "FakeClock",
    "FakeMetrics",
    "FakePipelines",
    "FakeRegistry",
    "FakeTraffic",
    "FakeWorld",
    "MemoryStore",
    "sample_model",
]
