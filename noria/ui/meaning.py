"""What a page says of a model in the reader's words, beyond the values themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from noria.loop.retraining import Allowance
from noria.loop.state import Outcome, Rollout, RolloutPhase, State, StepEvidence
from noria.loop.values import Command, Message, Verb
from noria.places import Detail
from noria.places.watched import Watched
from noria.spec import Model
from noria.ui.plots.performance import Goal
from noria.ui.words import Words
from noria.view import Attendance, Stage, Step, split_text

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_MOST_PLOTS = 4


class Place(StrEnum):
    """Where a canary step is, seen from the present."""

    DONE = "done"
    NOW = "now"
    FAILED = "failed"
    AHEAD = "ahead"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a rollout; 100 % is the promotion. ``evidence`` is None until it is decided."""

    percent: int
    place: Place
    evidence: StepEvidence | None = None


def stage_text(t: Words, stage: Stage) -> str:
    """Return what the loop is doing, in a few words."""
    return t(f"stage.{stage.phase.value}", version=stage.version or "?")


def step_text(t: Words, step: Step) -> str:
    """Return which canary step it is."""
    return t("step", number=step.number, count=step.count, percent=step.percent)


def span(t: Words, seconds: float) -> str:
    """Write a duration with one unit that suits it."""
    for unit, size in (("days", _DAY), ("hours", _HOUR), ("minutes", _MINUTE)):
        if seconds >= 2 * size:
            return t(unit, n=f"{seconds / size:.0f}")
    return t("seconds", n=f"{seconds:.0f}")


def steps_of(model: Model, rollout: Rollout) -> tuple[StepView, ...]:
    """Return the steps of a rollout with what was seen in each."""
    steps = model.spec.serving.canary.steps if rollout.champion is not None else ()
    evidence = {seen.step: seen for seen in rollout.evidence}
    views = [
        StepView(percent, _place(rollout, number, evidence.get(number)), evidence.get(number))
        for number, percent in enumerate(steps)
    ]
    promoting = rollout.phase is RolloutPhase.PROMOTING
    return (*views, StepView(100, Place.NOW if promoting else Place.AHEAD))


def _place(rollout: Rollout, number: int, evidence: StepEvidence | None) -> Place:
    if evidence is not None and any(j.verdict == "fail" for j in evidence.judged):
        return Place.FAILED
    if rollout.phase is RolloutPhase.STEPPING:
        if number == rollout.step:
            return Place.NOW
        return Place.DONE if number < rollout.step else Place.AHEAD
    if evidence is not None and all(j.verdict == "pass" for j in evidence.judged):
        return Place.DONE
    ended = rollout.phase in (RolloutPhase.PROMOTING, RolloutPhase.ABORTING)
    return Place.SKIPPED if ended else Place.AHEAD


def metrics_shown(model: Model, seen: Watched) -> list[str]:
    """Return the metrics to plot: the watched one first, then as the spec lists them."""
    drop = model.spec.monitoring.performance.drop
    first = [] if drop is None else [drop.metric]
    listed = [*first, *model.spec.monitoring.performance.metrics]
    measured = {m for windows in seen.performance.values() for w in windows for m in w.metrics}
    return [metric for metric in dict.fromkeys(listed) if metric in measured][:_MOST_PLOTS]


def goal_of(model: Model, seen: Watched, metric: str) -> Goal:
    """Return what a metric is held against: its value at training, and the drop allowed."""
    expected = seen.expected.get(metric)
    drop = model.spec.monitoring.performance.drop
    if expected is None or drop is None or drop.metric != metric:
        return Goal(expected)
    most = drop.limit(expected)
    greater = model.spec.metric(metric).greater_is_better
    return Goal(expected, expected - most if greater else expected + most)


def gain_text(outcome: Outcome) -> str:
    """Return what a candidate gained over its champion, metric by metric."""
    return ", ".join(
        f"{gate.name.removesuffix('-champion')} {gate.value:+.3f}"
        for gate in outcome.gates
        if gate.name.endswith("-champion") and gate.value is not None
    )


def message_text(t: Words, message: Message) -> tuple[str, str]:
    """Return what a message of the inbox is, and who sent it."""
    if isinstance(message, Command):
        return t(f"verb.{message.verb.value}"), message.by
    kind = getattr(message, "kind", None) or getattr(message, "name", "")
    return t("waiting-signal", kind=kind, source=message.source), message.source


@dataclass(frozen=True, slots=True)
class Question:
    """A confirmation: its title, and what will happen."""

    title: str
    lines: Sequence[str]


def question(t: Words, verb: Verb, detail: Detail) -> Question:
    """Say exactly what a command will do to a model in its present state."""
    view, state = detail.view, detail.state
    key, many = _key(verb, state), 0
    facts = {
        "model": view.name,
        "candidate": view.candidate or "",
        "champion": _replaced(state) or view.champion or "",
        "split": split_text(view) or t("no-traffic"),
        "run": "" if state is None or state.run is None else state.run.request.run_id,
        "left": "?" if detail.allowance is None else detail.allowance.left_in_budget,
    }
    lines = []
    while t.has(f"will.{key}.{(many := many + 1)}"):
        if _applies(key, many, detail):
            lines.append(t(f"will.{key}.{many}", **facts))
    if view.attendance is not Attendance.TURNING:
        lines.append(t("will.unattended"))
    return Question(t(f"confirm.{key}", **facts), lines)


def _key(verb: Verb, state: State | None) -> str:
    if verb is Verb.ABORT and (state is None or state.rollout is None):
        return "abort-run"
    return verb.value


def _replaced(state: State | None) -> str | None:
    return None if state is None or state.rollout is None else state.rollout.champion


def _applies(key: str, number: int, detail: Detail) -> bool:
    """Leave out the sentences that are not true for this model now."""
    state = detail.state
    if state is None:
        return False
    rollout = state.rollout
    match key, number:
        case "promote", 2:
            return rollout is not None and rollout.champion is not None
        case "abort", 1:
            return rollout is not None and rollout.champion is not None
        case "abort", 3:
            return detail.model is not None
        case "train", 2:
            return detail.allowance is not None
        case "train", 3:
            return rollout is not None
    return True


def blocked(allowance: Allowance | None) -> Sequence[str]:
    """Return the limits that keep signals from starting runs, in the loop's words."""
    return () if allowance is None else allowance.blocked
