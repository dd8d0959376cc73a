"""What happened during a replay, collected from the monitor, the ledger and the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from noria.embedded.system import System
from noria.loop.state import Outcome, RunKind, RunRecord, State
from noria.loop.values import SignalKind
from noria.report.figures import Drift, Gain, Retrain, Traffic

_TOP: Final = 3


@dataclass(frozen=True, slots=True)
class DetectorView:
    """A detector's last window: its p-value (None before the first) and whether it was drift."""

    name: str
    p_value: float | None
    drift: bool
    features: tuple[str, ...] = ()


class Chronicle:
    """Looks at a system after each turn, and tells what happened at the end."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._metric = system.model.spec.family.default_metric
        self._signals: set[str] = set()
        # The state forgets what its budget's period no longer counts.
        self._runs: dict[str, RunRecord] = {}
        self._outcomes: dict[str, Outcome] = {}
        self.drifts: list[Drift] = []
        self.traffic: list[Traffic] = []
        self.weights: Mapping[str, int] = {}
        self.windows = 0
        self.detectors: tuple[DetectorView, ...] = ()

    def observe(self, state: State) -> None:
        """Take note of new runs and signals, and of what the detectors and the proxy say now."""
        system = self._system
        self._runs |= {run.run_id: run for run in state.runs if run.kind is not RunKind.FIRST}
        self._outcomes |= {outcome.version: outcome for outcome in state.outcomes}
        if state.champion is None:
            return
        status = system.monitor.client.status(system.name)
        reports: Mapping[str, Mapping[str, Any]] = status["drift"]
        streams = {name: w for name, w in status["windows"].items() if "/" not in name}
        self.windows = sum(stream["index"] for stream in streams.values())
        self.detectors = tuple(
            DetectorView(name, report["p_value"], bool(report["drift"]), _features(report))
            for name, report in reports.items()
        )
        for signal in system.monitor.client.signals(system.name):
            if signal.id in self._signals:
                continue
            self._signals.add(signal.id)
            # A loss of performance is drift too, of what the features mean.
            if signal.kind in (SignalKind.DRIFT, SignalKind.PERFORMANCE):
                features = _features(reports.get(signal.source, {}))
                self.drifts.append(Drift(signal.at, signal.source, signal.kind, features))

    def split(self) -> None:
        """Take note of the traffic split, if it is new."""
        weights = {
            version: share
            for version, share in self._system.traffic.weights(self._system.name).items()
            if share
        }
        if weights and weights != self.weights:
            self.weights = weights
            self.traffic.append(Traffic(self._system.now(), weights))

    @property
    def retrains(self) -> int:
        """How many runs there were after the first training."""
        return len(self._runs)

    def retrain_log(self) -> tuple[Retrain, ...]:
        """Return each retrain with what became of it."""
        return tuple(self._retrain(run) for run in self._runs.values())

    def _retrain(self, run: RunRecord) -> Retrain:
        outcome = self._outcomes.get(run.version or "")
        ended = "undecided" if run.ended in (None, "succeeded") else str(run.ended)
        return Retrain(
            run_id=run.run_id,
            at=run.as_of,
            reason=run.cause,
            version=run.version,
            outcome=ended if outcome is None else str(outcome.result.value),
            gain=None if run.version is None else self._gain(run.version),
            decided=None if outcome is None else outcome.at,
        )

    def _gain(self, version: str) -> Gain | None:
        """Return the candidate's first metric minus the champion's on the same rows."""
        info = self._system.registry.version(self._system.name, version)
        found = f"vs_champion.{self._metric}"
        value = None if info is None else info.metrics.get(found)
        if info is None or value is None:
            return None
        return Gain(value, info.metrics.get(f"{found}.low"), info.metrics.get(f"{found}.high"))


def _features(report: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(feature["name"]) for feature in list(report.get("features") or ())[:_TOP])
