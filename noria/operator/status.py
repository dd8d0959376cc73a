"""The status of a ``Model``: a pure function of what the loop knows and has just seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from noria.loop import rollout, runs
from noria.loop.state import State, TrafficView
from noria.spec import Model
from noria.view import ModelView, Phase, Stage, down_text, stage_text, stuck_text, view_of
from noria.view.resource import MAKING, cut, status_fields

READY: Final = "Ready"
TRAINING: Final = "Training"
PROGRESSING: Final = "Progressing"
MONITORED: Final = "Monitored"
DEGRADED: Final = "Degraded"

MAX_EXPLANATION: Final = 5
"""How many of the last entries of the ledger the status repeats."""

_MAX_MESSAGE: Final = 2000
_FULL: Final = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """What a cycle saw, beside the state.

    Attributes:
        traffic: The versions that are deployed, and the split in force; None: not seen.
        problems: What did not answer or did not do its part, by part: ``registry``, ...
        monitor: What is wrong with the monitor; empty when it watches the champion.
        explanation: The last changes, one line each, oldest first.
        revision: Of the stored state.
        url: Where clients send requests, when that is known.
    """

    traffic: TrafficView | None = None
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
    view = view_of(
        model.name,
        model.spec,
        state,
        now,
        serving=Phase.SERVING if _answering(seen.traffic) else Phase.DOWN,
        weights=None if seen.traffic is None else seen.traffic.weights,
    )
    view = replace(view, url=seen.url)
    found = _conditions(state, view, seen)
    return {
        "observedGeneration": generation,
        **status_fields(view),
        "explanation": [cut(line) for line in seen.explanation][-MAX_EXPLANATION:],
        "revision": str(seen.revision),
        "ledgerHead": f"{state.head.sequence}:{state.head.hash[:16]}",
        "conditions": conditions(found, before, generation, now),
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
                "message": cut(condition.message, _MAX_MESSAGE),
                "lastTransitionTime": since,
                "observedGeneration": generation,
            }
        )
    return written


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether writing ``after`` over ``before`` would change anything."""
    return any(_kept(before.get(key)) != _kept(value) for key, value in after.items())


def _kept(value: Any) -> Any:
    """Return a value as the API server has it: empty is the same as absent."""
    if isinstance(value, Mapping):
        value = {key: item for key, item in value.items() if item is not None}
    return value if value or isinstance(value, int) else None


def stamp(at: datetime) -> str:
    """Write a time as Kubernetes does: UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _answering(traffic: TrafficView | None) -> bool:
    """Whether every version that gets traffic can answer it, as it was last seen."""
    weights, ready = ({}, {}) if traffic is None else (traffic.weights, traffic.ready)
    return sum(share for version, share in weights.items() if ready.get(version)) == _FULL


def _conditions(state: State, view: ModelView, seen: Seen) -> list[Condition]:
    return [
        _ready(state, seen),
        _training(state),
        _progressing(state, view.stage),
        _monitored(state, seen),
        _degraded(state, seen),
    ]


def _ready(state: State, seen: Seen) -> Condition:
    champion = state.champion
    if champion is None:
        said = stuck_text(state)
        if not said:
            return Condition(READY, status=False, reason=MAKING, message="the first is made")
        fix = 'mend it and annotate the Model with noria.dev/command: "train"'
        return Condition(READY, status=False, reason="NoVersion", message=f"{said}; {fix}")
    traffic = seen.traffic
    if traffic is None:
        said = seen.problems.get("traffic", "")
        return Condition(READY, status=None, reason="TrafficUnseen", message=said)
    if _answering(traffic):
        return Condition(READY, status=True, reason="Serving", message=f"v{champion} is champion")
    down = [version for version, weight in traffic.weights.items() if weight] or [champion]
    reasons = [f"v{version}: {why}" for version, why in sorted(traffic.problems.items())]
    said = down_text(down, reasons)
    return Condition(READY, status=False, reason="NotServing", message=said)


def _training(state: State) -> Condition:
    if state.run is None:
        return Condition(TRAINING, status=False, reason="Idle")
    request = state.run.request
    reason = "Cancelling" if state.run.cancelled else "RunInFlight"
    said = "; ".join((f"run {request.run_id}: {request.reason}", *_holds(state, runs.KIND)))
    return Condition(TRAINING, status=True, reason=reason, message=said)


def _progressing(state: State, stage: Stage) -> Condition:
    if state.rollout is None:
        return Condition(PROGRESSING, status=False, reason="NoRollout")
    reason = "Paused" if stage.paused else stage.phase.value.capitalize()
    said = "; ".join((stage_text(stage), *_holds(state, rollout.KIND)))
    return Condition(PROGRESSING, status=True, reason=reason, message=said)


def _holds(state: State, kind: str) -> list[str]:
    return [hold.text for hold in state.holds if hold.kind == kind]


def _monitored(state: State, seen: Seen) -> Condition:
    if seen.monitor:
        said = f"{seen.monitor}; drift and quality are not seen, all else goes on"
        return Condition(MONITORED, status=False, reason="MonitorUnavailable", message=said)
    if state.champion is None:
        said = "there is no champion to watch yet"
        return Condition(MONITORED, status=False, reason="NoVersion", message=said)
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
            DEGRADED,
            status=True,
            reason=f"{part.capitalize()}Unavailable",
            message="; ".join(problems),
        )
    return Condition(DEGRADED, status=False, reason="AsExpected")
