"""What a model is doing, from the loop's state or from the status of a cluster's ``Model``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from noria.loop.state import RolloutPhase, SetWeights, State
from noria.spec import ModelSpec
from noria.ui.source import Last, Stage, Step

_CANARY: Final = re.compile(r"canary (\d+)/(\d+) \((\d+) %(, paused)?\)")
_SHARE: Final = re.compile(r"v(\S+) (\d+)")
_FULL: Final = 100
_PHASES: Final = {
    RolloutPhase.DEPLOYING: Stage.DEPLOYING,
    RolloutPhase.STEPPING: Stage.CANARY,
    RolloutPhase.PROMOTING: Stage.PROMOTING,
    RolloutPhase.ABORTING: Stage.ABORTING,
}


def stage_of(state: State | None) -> Stage:
    """Return what the loop is doing."""
    if state is None:
        return Stage.NOT_STARTED
    if state.rollout is not None:
        return _PHASES[state.rollout.phase]
    if state.run is not None:
        return Stage.TRAINING
    return Stage.NO_VERSION if state.champion is None else Stage.SERVING


def step_of(spec: ModelSpec, state: State) -> Step | None:
    """Return the canary step, None outside of one."""
    rollout, steps = state.rollout, spec.serving.canary.steps
    if rollout is None or rollout.phase is not RolloutPhase.STEPPING or rollout.champion is None:
        return None
    at = min(rollout.step, len(steps) - 1)
    return Step(at + 1, len(steps), steps[at])


def wanted_split(state: State | None) -> Mapping[str, int]:
    """Return the split that the loop asked for last; all for the champion when it never did."""
    if state is None:
        return {}
    wish = state.wishes.get("weights")
    if wish is not None and isinstance(wish.action, SetWeights):
        return wish.action.weights
    return {} if state.champion is None else {state.champion: _FULL}


def last_of(state: State) -> Last | None:
    """Return how the newest candidate did: its last step, or its end."""
    if state.rollout is not None and state.rollout.evidence:
        seen = state.rollout.evidence[-1]
        worst = next((j for j in seen.judged if j.verdict != "pass"), None)
        where = f"v{state.rollout.version}, {seen.percent} %"
        if worst is None:
            return Last("pass", where)
        return Last(worst.verdict.value, f"{where}: {worst.detail}")
    if not state.outcomes:
        return None
    outcome = state.outcomes[-1]
    return Last(outcome.result.value, f"v{outcome.version}: {outcome.reason}")


def read_stage(said: str, *, candidate: bool) -> tuple[Stage, Step | None, bool]:
    """Read ``status.stage``: the stage, the canary step, and whether it is paused.

    An operator of another release may say what this one does not know; whether there is a
    candidate then decides between a rollout and serving.
    """
    canary = _CANARY.fullmatch(said)
    if canary is not None:
        number, count, percent = (int(group) for group in canary.groups()[:3])
        return Stage.CANARY, Step(number, count, percent), canary[4] is not None
    if said == "no version":
        return Stage.NO_VERSION, None, False
    if said == "":
        return Stage.NOT_STARTED, None, False
    try:
        phase = RolloutPhase(said)
    except ValueError:
        if said == "training":
            return Stage.TRAINING, None, False
        return (Stage.CANARY if candidate else Stage.SERVING), None, False
    return _PHASES[phase], None, False


def read_split(said: str) -> dict[str, int]:
    """Read ``status.traffic``, such as ``v7 90 / v8 10``."""
    return {version: int(share) for version, share in _SHARE.findall(said)}


def read_last(said: str) -> Last | None:
    """Read ``status.lastVerdict``."""
    if not said:
        return None
    words: Sequence[str] = ("pass", "fail", "inconclusive", "error", "promoted", "aborted",
                            "refused")  # fmt: skip
    found = re.match(rf"v\S+(?: at \d+ %:)? ({'|'.join(words)})\b", said)
    return Last(found[1] if found is not None else "", said)


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return one condition of a status, empty when it has none of that type."""
    found: Sequence[Mapping[str, Any]] = status.get("conditions") or ()
    return next((one for one in found if one.get("type") == kind), {})
