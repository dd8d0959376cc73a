"""The status of a ``Model``: a pure function of what the loop knows and has just seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from noria.loop.retraining import allowance
from noria.loop.state import Rollout, RolloutPhase, State
from noria.loop.values import RunPhase
from noria.spec import Model, ModelSpec

READY: Final = "Ready"
TRAINING: Final = "Training"
PROGRESSING: Final = "Progressing"
MONITORED: Final = "Monitored"
DEGRADED: Final = "Degraded"

MAX_EXPLANATION: Final = 5
"""How many of the last entries of the ledger the status repeats."""

_MAX_MESSAGE: Final = 2000
_MAX_LINE: Final = 400
_FULL: Final = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """What a cycle saw, beside the state.

    Attributes:
        ready: Deployed versions, and whether they can answer.
        weights: The split in force, in percent.
        problems: What did not answer, by part: ``Registry``, ``Monitor``, ...
        monitor: What is wrong with the monitor; empty when it watches the champion.
        explanation: The last changes, one line each, oldest first.
        revision: Of the stored state.
        url: Where clients send requests, when that is known.
    """

    ready: Mapping[str, bool] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    monitor: str = ""
    explanation: Sequence[str] = ()
    revision: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, before it has a time of transition."""

    type: str
    status: bool | None
    reason: str
    message: str = ""


def status_of(
    model: Model,
    state: State,
    seen: Seen,
    *,
    generation: int,
    before: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Return the whole status after a cycle.

    Args:
        model: The resource, checked.
        state: As stored after the cycle.
        seen: What the cycle saw.
        generation: The generation of the spec that turned.
        before: The status so far: a condition keeps its time until it changes.
        now: The time of a change.
    """
    rollout = state.rollout
    return {
        "observedGeneration": generation,
        "stage": _stage(model.spec, state),
        "champion": state.champion or "",
        "candidate": "" if rollout is None else rollout.version,
        "traffic": traffic_text(seen.weights),
        "lastVerdict": _last_verdict(state),
        "retrainsLeft": allowance(model.spec, state, now).left_in_budget,
        "url": seen.url,
        "explanation": [_cut(line, _MAX_LINE) for line in seen.explanation][-MAX_EXPLANATION:],
        "revision": str(seen.revision),
        "ledgerHead": f"{state.head.sequence}:{state.head.hash[:16]}",
        "conditions": conditions(_conditions(model, state, seen), before, generation, now),
    }


def told_to(status: Mapping[str, Any]) -> int:
    """Return the sequence of the last ledger entry that a status knows; 0 for none."""
    sequence = str(status.get("ledgerHead") or "").partition(":")[0]
    return int(sequence) if sequence.isdecimal() else 0


def refused_status(
    reason: str, message: str, *, generation: int, before: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Return what changes in the status when the loop can't turn at all.

    The other fields stay as they are: what was served goes on being served.
    """
    said = Condition(READY, status=False, reason=reason, message=message)
    return {
        "observedGeneration": generation,
        "conditions": _with(said, before, generation, now),
    }


def failed_status(
    message: str, *, generation: int, before: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Return what changes in the status when a turn failed as a whole."""
    said = Condition(DEGRADED, status=True, reason="TurnFailed", message=message)
    return {
        "observedGeneration": generation,
        "conditions": _with(said, before, generation, now),
    }


def _with(
    said: Condition, before: Mapping[str, Any], generation: int, now: datetime
) -> list[dict[str, Any]]:
    old = list(before.get("conditions") or ())
    new = conditions([said], before, generation, now)
    kept = [new[0] if one["type"] == said.type else one for one in old]
    return kept if any(one["type"] == said.type for one in old) else [*kept, *new]


def conditions(
    found: Iterable[Condition], before: Mapping[str, Any], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Return conditions as Kubernetes has them; the time changes only with the status."""
    known = {old["type"]: old for old in before.get("conditions") or ()}
    written = []
    for condition in found:
        status = "Unknown" if condition.status is None else str(condition.status)
        old = known.get(condition.type)
        same = old is not None and old.get("status") == status and old.get("lastTransitionTime")
        since = old["lastTransitionTime"] if old is not None and same else stamp(now)
        written.append(
            {
                "type": condition.type,
                "status": status,
                "reason": condition.reason,
                "message": _cut(condition.message, _MAX_MESSAGE),
                "lastTransitionTime": since,
                "observedGeneration": generation,
            }
        )
    return written


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether writing ``after`` over ``before`` would change anything."""
    return any(before.get(key, _EMPTY.get(type(value))) != value for key, value in after.items())


_EMPTY: Final[Mapping[type, Any]] = {list: [], str: ""}


def stamp(at: datetime) -> str:
    """Write a time as Kubernetes does: UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def traffic_text(weights: Mapping[str, int]) -> str:
    """Write a split as the printer column has it: ``v7 90 / v8 10``."""
    return " / ".join(f"v{version} {share}" for version, share in weights.items() if share)


def _stage(spec: ModelSpec, state: State) -> str:
    if state.rollout is not None:
        return _rollout_stage(spec, state.rollout)
    if state.run is not None:
        return "training"
    return "serving" if state.champion is not None else "no version"


def _rollout_stage(spec: ModelSpec, rollout: Rollout) -> str:
    steps = spec.serving.canary.steps
    if rollout.phase is not RolloutPhase.STEPPING or rollout.champion is None:
        return rollout.phase.value
    step = min(rollout.step, len(steps) - 1)
    paused = ", paused" if rollout.paused is not None else ""
    return f"canary {step + 1}/{len(steps)} ({steps[step]} %{paused})"


def _last_verdict(state: State) -> str:
    rollout = state.rollout
    if rollout is not None and rollout.evidence:
        judged = rollout.evidence[-1].judged
        worst = next((j for j in judged if j.verdict != "pass"), None)
        at = f"v{rollout.version} at {rollout.evidence[-1].percent} %"
        return f"{at}: {'pass' if worst is None else f'{worst.verdict.value}: {worst.detail}'}"
    if not state.outcomes:
        return ""
    outcome = state.outcomes[-1]
    return _cut(f"v{outcome.version} {outcome.result.value}: {outcome.reason}", _MAX_LINE)


def _conditions(model: Model, state: State, seen: Seen) -> list[Condition]:
    return [
        _ready(state, seen),
        _training(state),
        _progressing(model.spec, state),
        _monitored(seen),
        _degraded(state, seen),
    ]


def _ready(state: State, seen: Seen) -> Condition:
    champion = state.champion
    if champion is None:
        if state.run is not None or state.rollout is not None or not state.runs:
            return Condition(
                READY, status=False, reason="NoVersionYet", message="the first is made"
            )
        last = state.runs[-1]
        said = f"run {last.run_id} {last.ended.value if last.ended else 'is lost'}"
        if last.ended is RunPhase.SUCCEEDED:
            ends = [o.reason for o in state.outcomes if o.version == last.version]
            said = f"v{last.version} may not be served: {ends[-1] if ends else 'see the ledger'}"
        fix = 'mend it and annotate the Model with noria.dev/command: "train"'
        return Condition(READY, status=False, reason="NoVersion", message=f"{said}; {fix}")
    if "Traffic" in seen.problems:
        return Condition(
            READY, status=None, reason="TrafficUnseen", message=seen.problems["Traffic"]
        )
    share = sum(weight for version, weight in seen.weights.items() if seen.ready.get(version))
    if share == _FULL:
        return Condition(READY, status=True, reason="Serving", message=f"v{champion} is champion")
    down = [f"v{version}" for version, weight in seen.weights.items() if weight] or [f"v{champion}"]
    said = f"{' and '.join(down)} can't answer now"
    return Condition(READY, status=False, reason="NotServing", message=said)


def _training(state: State) -> Condition:
    if state.run is None:
        return Condition(TRAINING, status=False, reason="Idle")
    request = state.run.request
    reason = "Cancelling" if state.run.cancelled else "RunInFlight"
    return Condition(
        TRAINING, status=True, reason=reason, message=f"run {request.run_id}: {request.reason}"
    )


def _progressing(spec: ModelSpec, state: State) -> Condition:
    rollout = state.rollout
    if rollout is None:
        return Condition(PROGRESSING, status=False, reason="NoRollout")
    reason = "Paused" if rollout.paused is not None else rollout.phase.value.capitalize()
    said = f"v{rollout.version}: {_rollout_stage(spec, rollout)}"
    return Condition(PROGRESSING, status=True, reason=reason, message=said)


def _monitored(seen: Seen) -> Condition:
    if seen.monitor:
        said = f"{seen.monitor}; drift and quality are not seen, all else goes on"
        return Condition(MONITORED, status=False, reason="MonitorUnavailable", message=said)
    return Condition(MONITORED, status=True, reason="Watching")


def _degraded(state: State, seen: Seen) -> Condition:
    alerts = [f"{alert.name}: {alert.text}" for alert in state.alerts]
    problems = [f"{part}: {text}" for part, text in sorted(seen.problems.items())]
    if alerts:
        return Condition(
            DEGRADED, status=True, reason="Alert", message="; ".join((*alerts, *problems))
        )
    if problems:
        part = min(seen.problems)
        return Condition(
            DEGRADED, status=True, reason=f"{part}Unavailable", message="; ".join(problems)
        )
    return Condition(DEGRADED, status=False, reason="AsExpected")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
