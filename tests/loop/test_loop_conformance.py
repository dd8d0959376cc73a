"""The suites that every adapter must pass, run over the fakes and the real embedded store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from noria.clocks import ReplayClock, WallClock
from noria.errors import Unavailable
from noria.loop.conformance import (
    ClockConformance,
    MetricsConformance,
    PipelinesConformance,
    RegistryConformance,
    StoreConformance,
    TrafficConformance,
)
from noria.loop.fakes import (
    FakeClock,
    FakeMetrics,
    FakePipelines,
    FakeRegistry,
    FakeTraffic,
    MemoryStore,
)
from noria.loop.ports import Store
from noria.loop.sqlite_store import SqliteStore
from noria.loop.values import (
    Compared,
    MetricQuery,
    RunRequest,
    RunResult,
    Signal,
    SignalKind,
    VersionInfo,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class FakePipelinesDriver:
    patience = 0.0

    def __init__(self) -> None:
        self.port = FakePipelines()

    def request(self, run_id: str) -> RunRequest:
        return RunRequest(run_id, "flights", NOW, "a test", None)

    def started(self) -> int:
        return len(self.port.requests)

    def succeed(self, run_id: str) -> RunResult:
        result = RunResult("1", 1000, {"auc": 0.7}, (), None)
        self.port.succeed(run_id, result)
        return result

    def fail(self, run_id: str) -> None:
        self.port.fail(run_id)

    def reopen(self) -> FakePipelines:
        return self.port


class TestFakePipelines(PipelinesConformance):
    @pytest.fixture
    def driver(self) -> FakePipelinesDriver:
        return FakePipelinesDriver()


class FakeRegistryDriver:
    model = "flights"

    def __init__(self) -> None:
        self.port = FakeRegistry()

    def register(self) -> str:
        version = str(len(self.port.versions(self.model)) + 1)
        self.port.register(VersionInfo(self.model, version, NOW, (), {}, 10, None, "", ""))
        return version

    def reopen(self) -> FakeRegistry:
        return self.port


class TestFakeRegistry(RegistryConformance):
    @pytest.fixture
    def driver(self) -> FakeRegistryDriver:
        return FakeRegistryDriver()


class FakeTrafficDriver:
    model = "flights"
    versions = ("1", "2")
    patience = 0.0

    def __init__(self) -> None:
        self.port = FakeTraffic()

    def make_ready(self, version: str) -> None:
        self.port.make_ready(self.model, version)

    def break_down(self, version: str) -> None:
        self.port.break_down(self.model, version)

    def reopen(self) -> FakeTraffic:
        return self.port


class TestFakeTraffic(TrafficConformance):
    @pytest.fixture
    def driver(self) -> FakeTrafficDriver:
        return FakeTrafficDriver()


class _Breakable(FakeMetrics):
    down = False

    def measure(self, query: MetricQuery) -> Compared:
        if self.down:
            raise Unavailable("the monitor does not answer")
        return super().measure(query)


class FakeMetricsDriver:
    model = "flights"
    metric = "auc"
    patience = 0.0

    def __init__(self) -> None:
        self.port = _Breakable()

    def publish(self, version: str, samples: int) -> Compared:
        measurement = Compared(self.metric, version, 0.7, samples)
        self.port.publish(measurement)
        return measurement

    def signal(self) -> Signal:
        signal = Signal("flights/1/features/3", SignalKind.DRIFT, "features", NOW, "p 0.001", "1")
        self.port.signal(self.model, signal)
        return signal

    def now(self) -> datetime:
        return NOW

    def take_down(self) -> None:
        self.port.down = True


class TestFakeMetrics(MetricsConformance):
    @pytest.fixture
    def driver(self) -> FakeMetricsDriver:
        return FakeMetricsDriver()


class TestFakeClock(ClockConformance):
    @pytest.fixture
    def driver(self) -> FakeClock:
        return FakeClock()


class TestWallClock(ClockConformance):
    @pytest.fixture
    def driver(self) -> WallClock:
        return WallClock()


class TestReplayClock(ClockConformance):
    @pytest.fixture
    def driver(self) -> ReplayClock:
        return ReplayClock(datetime(2013, 1, 1, tzinfo=UTC))


class MemoryStoreDriver:
    def __init__(self) -> None:
        self.port: Store = MemoryStore()

    def reopen(self) -> Store:
        return self.port


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def driver(self) -> MemoryStoreDriver:
        return MemoryStoreDriver()


class SqliteStoreDriver:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.port: Store = SqliteStore(path)

    def reopen(self) -> Store:
        return SqliteStore(self.path)


class TestSqliteStore(StoreConformance):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> SqliteStoreDriver:
        return SqliteStoreDriver(tmp_path / "home" / "loop.db")
