"""The suite of the ``Metrics`` port over a real Prometheus that scrapes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from noria.clocks import WallClock
from noria.loop.conformance import MetricsConformance
from noria.loop.fakes import FakeMetrics
from noria.loop.values import Compared, Signal, SignalKind
from noria.prometheus import PrometheusMetrics

if TYPE_CHECKING:
    from conftest import Hub, Server


class PrometheusDriver:
    patience = 5.0

    def __init__(self, metric: str, model: str, hub: Hub, serve: Callable[..., Server]) -> None:
        self.metric, self.model = metric, model
        self._serve = serve
        self._told = FakeMetrics()
        self._url = hub.url
        self.port = self._on(hub.url)

    def publish(self, version: str, samples: int) -> Compared:
        server = self._serve(version)
        if self.metric == "error-rate":
            server.answer(samples - samples // 4)
            server.answer(samples // 4, code=500)
            return Compared(self.metric, version, 0.25, samples)
        # In the middle of the bucket from 2.5 to 5 ms.
        server.answer(samples, seconds=0.004)
        return Compared(self.metric, version, 0.00375, samples)

    def signal(self) -> Signal:
        signal = Signal("m/1/features/3", SignalKind.DRIFT, "features", self.now(), "p 0.001", "1")
        self._told.signal(self.model, signal)
        return signal

    def now(self) -> datetime:
        return datetime.now(UTC)

    def take_down(self) -> None:
        self.port.close()
        self.port = self._on("http://127.0.0.1:1")

    def _on(self, url: str) -> PrometheusMetrics:
        return PrometheusMetrics(url, clock=WallClock(), signals=self._told)


class TestPrometheus(MetricsConformance):
    @pytest.fixture(params=["error-rate", "latency-p50"])
    def driver(
        self, request: pytest.FixtureRequest, hub: Hub, serve: Callable[..., Server]
    ) -> Iterator[PrometheusDriver]:
        driver = PrometheusDriver(request.param, request.node.name, hub, serve)
        with contextlib.closing(driver.port):
            yield driver
        driver.port.close()
