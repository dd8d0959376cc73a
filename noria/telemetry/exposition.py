"""The loop's state in the Prometheus text format.

Everything comes from ``State``, so a loop that was restarted, or is another
replica, tells the same. Counters are ``State.tally``, which only grows; what
the state forgets (old runs, old candidates) is never counted from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from noria.loop.retraining import allowance
from noria.loop.sizing import longest
from noria.loop.state import Result, RolloutPhase, RunKind, State
from noria.loop.values import GateResult, RunPhase, finite
from noria.spec import Model
from noria.view import Phase, phase_of, wanted_weights

_AGAINST_CHAMPION: Final = "-champion"
_STAGES: Final = (
    Phase.NO_VERSION,
    Phase.SERVING,
    Phase.TRAINING,
    Phase.DEPLOYING,
    Phase.CANARY,
    Phase.PROMOTING,
    Phase.ABORTING,
)

_GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "noria_loop_stage": ("1 for what the loop is doing, 0 for the other stages", ("stage",)),
    "noria_loop_champion_info": ("1, with the version that users should get", ("version",)),
    "noria_loop_candidate_info": ("1, with the version that is being rolled out", ("version",)),
    "noria_loop_weight_percent": (
        "Share of the traffic that the loop wants a version to have",
        ("version",),
    ),
    "noria_loop_rollout_step": (
        "Canary step of the rollout, from 1; 0 before the first step and without a rollout",
        (),
    ),
    "noria_loop_rollout_step_age_seconds": ("Time in the rollout's present phase or step", ()),
    "noria_loop_rollout_step_timeout_seconds": (
        "spec: the time after which an undecided step is aborted",
        (),
    ),
    "noria_loop_rollout_paused": ("1 while a person has paused the rollout", ()),
    "noria_loop_run_active": ("1 while a training run is in flight", ()),
    "noria_loop_run_age_seconds": ("Time since the run in flight was started", ()),
    "noria_loop_retrains_left": ("Runs that the budget leaves for signals", ()),
    "noria_loop_retrains_limit": ("spec: runs in the budget", ()),
    "noria_loop_signals_pending": ("Signals that wait until a run may start", ()),
    "noria_loop_losses": ("Candidates in a row that did not win", ()),
    "noria_loop_losses_limit": ("spec: losses in a row that open the loop-breaker", ()),
    "noria_loop_breaker_open": ("1 while the loop-breaker waits for a person", ()),
    "noria_loop_actions_failing": ("Actions that failed and are tried again", ()),
    "noria_loop_alert": ("1 for an alert that stands", ("name",)),
    "noria_loop_gate_gain": (
        "Gain of a candidate over its champion on held-out rows, in the metric's unit",
        ("version", "metric"),
    ),
    "noria_loop_last_cycle_timestamp_seconds": ("When the loop last turned", ()),
}
_COUNTERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "noria_loop_rollouts_total": ("Candidates that ended, by result", ("result",)),
    "noria_loop_runs_total": ("Training runs that ended, by kind and how", ("kind", "ended")),
    "noria_loop_runs_started_total": ("Training runs started", ()),
}

NAMES: Final = (*_GAUGES, *_COUNTERS)
"""Every metric of the loop, as Prometheus names its series."""

_Rows = dict[str, list[tuple[tuple[str, ...], float]]]


@dataclass(frozen=True, slots=True)
class Turned:
    """A model's state after a turn of its loop, and when that was."""

    model: Model
    state: State
    at: datetime


def render(model: Model, state: State, now: datetime) -> bytes:
    """Return one model's metrics, text format 0.0.4.

    Args:
        model: The resource; its namespace, when it has one, is on every series.
        state: As stored after the turn.
        now: When the loop turned. Render once a turn and serve that text, rather than at each
            scrape: a loop that hangs must show as one that no longer turns.
    """
    return render_all((Turned(model, state, now),))


def render_all(turned: Sequence[Turned]) -> bytes:
    """Return the metrics of several models that share one process, each family once."""
    registry = CollectorRegistry()
    registry.register(_Loops(tuple(turned)))
    return generate_latest(registry)


class _Loops(Collector):
    def __init__(self, turned: tuple[Turned, ...]) -> None:
        self._rows = [(one.model.metadata, _rows(one)) for one in turned]
        self._namespaced = any(meta.namespace for meta, _ in self._rows)

    def describe(self) -> list[Metric]:
        """Return nothing: metrics are made when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family that has a series."""
        for families, kind in ((_GAUGES, GaugeMetricFamily), (_COUNTERS, CounterMetricFamily)):
            for name, (help_text, labels) in families.items():
                # An empty label value is the same to Prometheus as no label.
                scope = ("namespace", "model") if self._namespaced else ("model",)
                family = kind(name, help_text, labels=(*scope, *labels))
                for meta, rows in self._rows:
                    where = (meta.namespace, meta.name) if self._namespaced else (meta.name,)
                    for values, number in rows.get(name, ()):
                        family.add_metric((*where, *values), number)
                if family.samples:
                    yield family


def _rows(turned: Turned) -> _Rows:
    model, state, now = turned.model, turned.state, turned.at
    spec, rollout = model.spec, state.rollout
    rows: _Rows = {}

    def put(name: str, value: float, *labels: str) -> None:
        rows.setdefault(f"noria_loop_{name}", []).append((labels, value))

    phase = phase_of(state)
    for known in _STAGES:
        put("stage", float(known is phase), known)
    if state.champion is not None:
        put("champion_info", 1.0, state.champion)
    if rollout is not None:
        put("candidate_info", 1.0, rollout.version)
        put("rollout_step_age_seconds", max(0.0, (now - rollout.entered).total_seconds()))
        put("rollout_step_timeout_seconds", longest(spec.serving.canary).total_seconds())
    for version, percent in wanted_weights(spec, state).items():
        put("weight_percent", percent, version)
    stepping = rollout is not None and rollout.phase is RolloutPhase.STEPPING
    put("rollout_step", rollout.step + 1 if rollout is not None and stepping else 0)
    put("rollout_paused", float(rollout is not None and rollout.paused is not None))
    put("run_active", float(state.run is not None))
    if state.run is not None:
        put("run_age_seconds", max(0.0, (now - state.run.request.as_of).total_seconds()))
    put("retrains_left", allowance(spec, state, now).left_in_budget)
    put("retrains_limit", spec.retraining.budget.runs)
    put("signals_pending", len(state.pending))
    put("losses", state.losses)
    put("losses_limit", spec.retraining.give_up_after)
    put("breaker_open", float(state.breaker is not None))
    put("actions_failing", sum(pending.attempts > 0 for pending in state.outbox))
    for alert in state.alerts:
        put("alert", 1.0, alert.name)
    for version, metric, gain in _gains(state):
        put("gate_gain", gain, version, metric)
    put("last_cycle_timestamp_seconds", now.timestamp())
    # Every series from the start: increase() misses one that appears late.
    for result in Result:
        put("rollouts_total", state.tally.get(f"rollout/{result}", 0), result)
    for run_kind in RunKind:
        for end in (RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED, RunPhase.UNKNOWN):
            count = state.tally.get(f"run/{run_kind}/{end}", 0)
            put("runs_total", count, run_kind, end)
    put("runs_started_total", state.runs_started)
    return rows


def _gains(state: State) -> Iterator[tuple[str, str, float]]:
    """Yield version, metric and gain of every candidate that is remembered, once each."""
    judged: dict[str, tuple[GateResult, ...]] = {o.version: o.gates for o in state.outcomes}
    if state.rollout is not None:
        judged[state.rollout.version] = state.rollout.gates
    for version, gates in judged.items():
        for gate in gates:
            value = finite(gate.value)
            if gate.name.endswith(_AGAINST_CHAMPION) and value is not None:
                yield version, gate.name.removesuffix(_AGAINST_CHAMPION), value
