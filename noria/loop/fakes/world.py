"""All the fakes wired to an engine: a whole loop in memory, driven by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from noria.loop.engine import Engine
from noria.loop.fakes.alerts import FakeAlerts
from noria.loop.fakes.clock import FakeClock
from noria.loop.fakes.metrics import FakeMetrics
from noria.loop.fakes.pipelines import FakePipelines
from noria.loop.fakes.registry import FakeRegistry
from noria.loop.fakes.store import MemoryStore
from noria.loop.fakes.traffic import FakeTraffic
from noria.loop.ports import CHAMPION, Store
from noria.loop.state import Decision, State
from noria.loop.values import (
    Command,
    Compared,
    GateResult,
    RunResult,
    Signal,
    SignalKind,
    Verb,
    Verdict,
    VersionInfo,
)
from noria.spec import Model


class FakeWorld:
    """One model's world. Versions get ready at once unless ``traffic`` says otherwise.

    A row gets its label each second, so that there is always something new to learn from.
    """

    def __init__(
        self, model: Model, *, store: Store | None = None, traffic: FakeTraffic | None = None
    ) -> None:
        self.model = model
        self.name = model.metadata.name
        self.clock = FakeClock()
        self.pipelines = FakePipelines()
        self.registry = FakeRegistry()
        self.traffic = traffic or FakeTraffic(prompt=True)
        self.metrics = FakeMetrics(self.clock, labels_a_day=86_400)
        self.store: Store = store or MemoryStore()
        self.alerts = FakeAlerts()

    def engine(self, leads: Callable[[], bool] = lambda: True) -> Engine:
        """Return a new engine on this world, as after a restart."""
        return Engine(
            self.model,
            pipelines=self.pipelines,
            registry=self.registry,
            traffic=self.traffic,
            metrics=self.metrics,
            store=self.store,
            clock=self.clock,
            alerts=self.alerts,
            leads=leads,
        )

    def cycle(self, times: int = 1, *, every: timedelta = timedelta(seconds=10)) -> Decision:
        """Run cycles with time passing after each; return the last decision."""
        engine = self.engine()
        for _ in range(times):
            decision = engine.cycle().decision
            self.clock.advance(every)
        return decision

    @property
    def state(self) -> State:
        """The stored state."""
        return self.engine().state()

    @property
    def champion(self) -> str | None:
        """The version that the champion alias points at."""
        return self.registry.alias(self.name, CHAMPION)

    def gates(
        self, verdict: Verdict = Verdict.PASS, *, compared: bool = True, samples: int = 5000
    ) -> tuple[GateResult, ...]:
        """Return results for every gate of the spec."""
        spec = self.model.spec.gates
        bounds = [
            GateResult(f"{b.metric}-bound", verdict, "", 0.7, b.min, samples) for b in spec.bounds
        ]
        against = [
            GateResult(f"{c.metric}-champion", verdict, "", 0.01, 0.0, samples, 0.005, 0.015)
            for c in spec.champion
        ]
        return (*bounds, *(against if compared else ()))

    def register(
        self,
        version: str,
        *,
        champion: str | None = None,
        gates: Sequence[GateResult] | None = None,
        rows: int = 1000,
    ) -> VersionInfo:
        """Add a version to the registry; its gates pass unless they are given."""
        shown = self.gates(compared=champion is not None) if gates is None else tuple(gates)
        info = VersionInfo(
            self.name, version, self.clock.now(), shown, {"auc": 0.7}, rows, champion, "", ""
        )
        self.registry.register(info)
        return info

    def install(self, version: str = "1") -> None:
        """Make a version the champion with all the traffic, known to the loop."""
        self.register(version)
        self.registry.set_alias(self.name, CHAMPION, version, expected=self.champion)
        self.traffic.deploy(self.name, version)
        self.traffic.make_ready(self.name, version)
        self.cycle(2)

    def finish_run(
        self,
        version: str,
        *,
        gates: Sequence[GateResult] | None = None,
        champion: str | None = None,
        rows: int = 1000,
    ) -> None:
        """End the run in flight with a new version.

        ``champion`` is the one its gates were measured against; by default the
        champion that the run was asked to beat.
        """
        (run_id,) = self.pipelines.running()
        against = champion or self.pipelines.requests[run_id].champion
        info = self.register(version, champion=against, gates=gates, rows=rows)
        result = RunResult(version, info.rows, info.metrics, info.gates, against)
        self.pipelines.succeed(run_id, result)

    def answer(self, version: str, samples: int, **metrics: float) -> None:
        """Publish metrics of a version, known exactly: ``answer("2", 500, auc=0.7)``."""
        for metric, value in metrics.items():
            name = metric.replace("_", "-")
            self.metrics.publish(Compared(name, version, value, samples, value, value))

    def tell(self, verb: Verb, *, key: str = "", reason: str = "") -> bool:
        """Submit a person's command."""
        now = self.clock.now()
        command = Command(key or f"{verb}-{now:%s%f}", verb, now, "ann", reason)
        return self.store.submit(self.name, command)

    def signal(
        self,
        key: str,
        kind: SignalKind = SignalKind.DRIFT,
        *,
        version: str | None = None,
    ) -> Signal:
        """Publish a signal of the monitor, about the champion unless told otherwise."""
        about = version or self.champion
        signal = Signal(key, kind, "features", self.clock.now(), "p 0.001", about)
        self.metrics.signal(self.name, signal)
        return signal
