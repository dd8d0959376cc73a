"""The stage of a model: what its loop is doing with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from noria.loop.state import RolloutPhase, State
from noria.spec import ModelSpec


class Phase(StrEnum):
    """What a loop does. ``STARTING`` and ``DOWN``: the champion does not answer (yet)."""

    NOT_STARTED = "not-started"
    NO_VERSION = "no-version"
    TRAINING = "training"
    STARTING = "starting"
    SERVING = "serving"
    DOWN = "down"
    DEPLOYING = "deploying"
    CANARY = "canary"
    PROMOTING = "promoting"
    ABORTING = "aborting"


PHASES: Final[Mapping[Phase, str]] = {
    Phase.NOT_STARTED: "not started",
    Phase.NO_VERSION: "no version",
    Phase.TRAINING: "training",
    Phase.STARTING: "starting v{version}",
    Phase.SERVING: "serving",
    Phase.DOWN: "not serving",
    Phase.DEPLOYING: "deploying v{version}",
    Phase.CANARY: "canary of v{version}",
    Phase.PROMOTING: "promoting v{version}",
    Phase.ABORTING: "aborting v{version}",
}
"""Each phase in words, ``version`` being the stage's."""

STEP: Final = "step {number} of {count} ({percent} %)"
PAUSED: Final = "paused"

_OF_ROLLOUT: Final = {
    RolloutPhase.DEPLOYING: Phase.DEPLOYING,
    RolloutPhase.STEPPING: Phase.CANARY,
    RolloutPhase.PROMOTING: Phase.PROMOTING,
    RolloutPhase.ABORTING: Phase.ABORTING,
}


@dataclass(frozen=True, slots=True)
class Step:
    """A canary step: its number from 1, of how many, and the candidate's share in percent."""

    number: int
    count: int
    percent: int


@dataclass(frozen=True, slots=True)
class Stage:
    """What the loop is doing.

    Attributes:
        phase: In a word.
        version: The candidate of a rollout, or the champion that starts; else None.
        step: The canary step, None outside of one and where the spec can't be read.
        paused: Whether a person holds the rollout.
    """

    phase: Phase
    version: str | None = None
    step: Step | None = None
    paused: bool = False


def phase_of(state: State | None) -> Phase:
    """Return what a loop does as far as its state tells, which does not say who answers."""
    if state is None:
        return Phase.NOT_STARTED
    if state.rollout is not None:
        return _OF_ROLLOUT[state.rollout.phase]
    if state.run is not None:
        return Phase.TRAINING
    return Phase.NO_VERSION if state.champion is None else Phase.SERVING


def stage_of(spec: ModelSpec | None, state: State | None, serving: Phase = Phase.SERVING) -> Stage:
    """Return the stage of a model.

    Args:
        spec: None when it can't be read.
        state: None before the first turn.
        serving: What a champion is seen to do: ``SERVING``, ``STARTING`` or ``DOWN``.
    """
    phase = phase_of(state)
    if phase is Phase.SERVING:
        phase = serving
    if state is None or state.rollout is None:
        return Stage(phase, state.champion if state and phase is Phase.STARTING else None)
    rollout = state.rollout
    step = None
    if spec is not None and phase is Phase.CANARY and rollout.champion is not None:
        steps = spec.serving.canary.steps
        at = min(rollout.step, len(steps) - 1)
        step = Step(at + 1, len(steps), steps[at])
    return Stage(phase, rollout.version, step, rollout.paused is not None)


def stage_text(stage: Stage) -> str:
    """Say what the loop is doing: ``canary of v8, step 2 of 2 (50 %), paused``."""
    said = [PHASES[stage.phase].format(version=stage.version or "?")]
    if stage.step is not None:
        step = stage.step
        said.append(STEP.format(number=step.number, count=step.count, percent=step.percent))
    if stage.paused:
        said.append(PAUSED)
    return ", ".join(said)
