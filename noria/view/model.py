"""One model as every reader is shown it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from noria.loop.retraining import allowance
from noria.loop.state import RolloutPhase, State
from noria.spec import ModelSpec
from noria.view.stage import Phase, Stage, stage_of
from noria.view.verdict import LastVerdict, last_verdict

_FULL: Final = 100


class Attendance(StrEnum):
    """Whether somebody turns the loop: nobody does, and nothing answers, when it is ``STOPPED``."""

    TURNING = "turning"
    UNATTENDED = "unattended"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ModelView:
    """What one model is doing.

    Attributes:
        name: The model.
        stage: What the loop is doing.
        attendance: Whether a loop turns.
        champion: The version that users should get.
        candidate: The version on its way.
        weights: The split that was seen in force, percent by version; empty when none was seen.
        wanted: The split that the loop asks for.
        verdict: How the newest candidate did.
        run: The training run in flight.
        holds: What the run, the rollout and each waiting signal lack, one sentence each.
        retrains_left: Runs left in the budget, None when unknown.
        breaker_open: Whether the loop-breaker keeps signals from starting runs.
        problem: What keeps the model from being served, None when nothing does.
        troubles: What else is not as it should be, one sentence each.
        alerts: What the loop tells a person to look at, one sentence each.
        url: The address for clients.
        drift: What drifted, one sentence each; empty when nothing did, None when unknown.
        drift_note: Why that is unknown, or known in part only.
        performance: Metric to value of the champion's newest window.
        unmeasured: Why there is no performance yet.
        cautions: What whoever answers for the model should know of its options.
        processes: What runs for it on this machine: ``server v3 (pid 4711)``.
    """

    name: str
    stage: Stage
    attendance: Attendance = Attendance.TURNING
    champion: str | None = None
    candidate: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    wanted: Mapping[str, int] = field(default_factory=dict)
    verdict: LastVerdict | None = None
    run: str | None = None
    holds: tuple[str, ...] = ()
    retrains_left: int | None = None
    breaker_open: bool = False
    problem: str | None = None
    troubles: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    url: str | None = None
    drift: tuple[str, ...] | None = None
    drift_note: str = ""
    performance: Mapping[str, float | None] = field(default_factory=dict)
    unmeasured: str = ""
    cautions: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()

    @property
    def troubled(self) -> bool:
        """Whether a person should look."""
        return bool(self.problem or self.troubles or self.alerts or self.breaker_open)

    @property
    def shares(self) -> list[tuple[str, int]]:
        """The split in force, else the one asked for: the champion's share first."""
        return ordered(self.weights or self.wanted, self.champion, self.candidate)


def view_of(
    name: str,
    spec: ModelSpec | None,
    state: State | None,
    now: datetime,
    *,
    serving: Phase = Phase.SERVING,
    weights: Mapping[str, int] | None = None,
) -> ModelView:
    """Return what the loop's state tells of a model; what else was seen is for the caller to add.

    Args:
        name: The model.
        spec: None when it can't be read.
        state: None before the first turn.
        now: The loop's time.
        serving: What a champion is seen to do: ``SERVING``, ``STARTING`` or ``DOWN``.
        weights: The split that was seen in force.
    """
    stage = stage_of(spec, state, serving)
    cautions = () if spec is None else spec.family.cautions_of(spec.task.options)
    if state is None:
        return ModelView(name, stage, cautions=cautions)
    return ModelView(
        name,
        stage,
        champion=state.champion,
        candidate=None if state.rollout is None else state.rollout.version,
        weights=weights or {},
        wanted=wanted_weights(spec, state),
        verdict=last_verdict(state),
        run=None if state.run is None else state.run.request.run_id,
        holds=tuple(hold.text for hold in state.holds),
        retrains_left=None if spec is None else allowance(spec, state, now).left_in_budget,
        breaker_open=state.breaker is not None,
        alerts=tuple(f"{alert.name}: {alert.text}" for alert in state.alerts),
        cautions=cautions,
    )


def wanted_weights(spec: ModelSpec | None, state: State) -> dict[str, int]:
    """Return the split that the loop asks for, in percent; empty when that can't be known."""
    rollout = state.rollout
    if rollout is None:
        return {} if state.champion is None else {state.champion: _FULL}
    stepping = rollout.phase is RolloutPhase.STEPPING
    if rollout.phase is RolloutPhase.PROMOTING or (stepping and rollout.champion is None):
        share = _FULL
    elif not stepping:
        share = 0
    elif spec is None:
        return {}
    else:
        steps = spec.serving.canary.steps
        share = steps[min(rollout.step, len(steps) - 1)]
    if rollout.champion is None:
        return {rollout.version: share} if share else {}
    return {rollout.champion: _FULL - share, rollout.version: share}


def ordered(
    weights: Mapping[str, int], champion: str | None, candidate: str | None
) -> list[tuple[str, int]]:
    """Return the shares above nothing: the champion's, the candidate's, then the others'."""
    rank = {champion: 0, candidate: 1}
    found = [(version, share) for version, share in weights.items() if share > 0]
    return sorted(found, key=lambda one: (rank.get(one[0], 2), one[0]))
