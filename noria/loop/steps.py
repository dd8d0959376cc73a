"""The step of a canary in force: what it needs, what it has shown, and how long that takes.

Nothing here changes the turn: it is read, and what to do about it is ``rollout``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from noria.loop import sizing
from noria.loop.analysis import judge, rows_answered, rule, smoke
from noria.loop.ports import ERROR_RATE
from noria.loop.state import Judged, Rollout, RolloutPhase
from noria.loop.turn import Turn
from noria.loop.values import Verdict

_A_CYCLE: Final = timedelta(days=1)
"""Traffic has its days and nights: less than one tells no rate."""


def percent(turn: Turn, rollout: Rollout) -> int:
    """Return the candidate's share of the traffic."""
    steps = turn.spec.serving.canary.steps
    return steps[min(rollout.step, len(steps) - 1)]


def split_of(turn: Turn, rollout: Rollout) -> dict[str, int]:
    """Return the percent of the traffic that each version should have."""
    share = percent(turn, rollout)
    if rollout.champion is None:
        return {rollout.version: 100}
    return {rollout.champion: 100 - share, rollout.version: share}


def where(turn: Turn, rollout: Rollout) -> str:
    """Write which step it is: ``step 1 of 2 (10 %)``."""
    if rollout.phase is RolloutPhase.DEPLOYING:
        return "deployment"
    count = len(turn.spec.serving.canary.steps)
    return f"step {rollout.step + 1} of {count} ({percent(turn, rollout)} %)"


def needs(turn: Turn) -> str:
    """Say what a step has to show, for as long as nothing of it can be measured."""
    canary, family = turn.spec.serving.canary, turn.spec.family
    rollout = turn.state.rollout
    step = plan(turn, rollout) if rollout is not None else sizing.plan(canary, family, 100, None)
    rules = [
        f"{rule(check)} over {rows} samples"
        for check, rows in zip(canary.analysis, step.needs, strict=True)
    ]
    if all(check.metric != ERROR_RATE for check in canary.analysis):
        rules.append(f"{step.rows} rows answered")
    said = f"{', '.join(rules)}{lasts(turn, step, step.rows)}"
    return f"the traffic is not split as wanted yet; then it needs {said}"


def plan(turn: Turn, rollout: Rollout) -> sizing.Plan:
    """Return what the step in force needs at the present traffic."""
    canary, share = turn.spec.serving.canary, percent(turn, rollout)
    spent = max(timedelta(0), turn.now - rollout.since) if rollout.since else timedelta(0)
    rate = turn.observation.rows_per_day
    if rate is None and spent >= _A_CYCLE:
        rate = answered(turn, rollout) / (spent / _A_CYCLE) * 100.0 / share
    return sizing.plan(canary, turn.spec.family, share, rate, spent)


def answered(turn: Turn, rollout: Rollout) -> int:
    """Return how many rows the candidate has answered in this step."""
    seen = next(
        (
            m
            for m in turn.observation.measurements
            if m.version == rollout.version and m.metric == ERROR_RATE
        ),
        None,
    )
    return 0 if seen is None else max(0, seen.samples)


def lasts(turn: Turn, step: sizing.Plan, rows: int) -> str:
    """Say how long so many more rows take; empty when that is unknown or nothing is missing."""
    takes, rate = step.takes(rows), turn.observation.rows_per_day
    if takes is None or rate is None or rows <= 0:
        return ""
    return f"; about {sizing.in_words(takes)} at {sizing.rate_in_words(rate)}"


def judge_all(turn: Turn, rollout: Rollout, step: sizing.Plan) -> tuple[Judged, ...]:
    """Judge every check; and count the rows answered where no check asks for them all."""
    if rollout.since is None:
        return ()
    checks = turn.spec.serving.canary.analysis
    seen = {m.metric: m for m in turn.observation.measurements if m.version == rollout.version}
    family = turn.spec.family
    judged = [
        judge(check, metric, seen.get(metric.name), rollout.version, rows)
        if full
        else smoke(check, metric, seen.get(metric.name), rollout.version, step.rows)
        for check, rows, full in zip(checks, step.needs, step.full, strict=True)
        for metric in (family.named(check.metric),)
    ]
    if step.smoke or all(c.metric != ERROR_RATE for c in checks):
        counted = rows_answered(seen.get(ERROR_RATE), rollout.version, step.rows)
        judged.append(_as_smoke(turn, step, counted) if step.smoke else counted)
    return tuple(judged)


def _as_smoke(turn: Turn, step: sizing.Plan, counted: Judged) -> Judged:
    """Say that a step is a smoke test, and why: what it would take to prove its checks."""
    whole = max(step.needs, default=sizing.LEAST)
    takes, rate = step.takes(whole), turn.observation.rows_per_day
    why = "its labels come later than the patience"
    if takes is not None and takes > turn.spec.serving.canary.patience:
        at = "" if rate is None else f"at {sizing.rate_in_words(rate)} "
        why = f"{at}{whole} would take {sizing.in_words(takes)}"
    said = f"smoke test of {step.rows} rows, {counted.detail}; {why}, so the gates decide"
    return msgspec.structs.replace(counted, detail=said)


def unmet(step: sizing.Plan, judged: Sequence[Judged]) -> list[Judged]:
    """Return what holds the step: all that did not pass, but for what a smoke test can't show."""
    full = (*step.full, True)
    return [
        j
        for j, whole in zip(judged, full, strict=False)
        if j.verdict is not Verdict.PASS and (whole or j.verdict is not Verdict.INCONCLUSIVE)
    ]


def limit(turn: Turn, rollout: Rollout, step: sizing.Plan | None = None) -> timedelta | None:
    """Return how long it may stay where it is; None: promotion and abort have no time-out.

    ``step`` is the plan of the step in force, where it is known already.
    """
    canary = turn.spec.serving.canary
    if rollout.phase is RolloutPhase.STEPPING:
        return sizing.longest(canary, step or plan(turn, rollout))
    if rollout.phase is RolloutPhase.DEPLOYING:
        return sizing.DEPLOYMENT if canary.step_timeout == "auto" else canary.step_timeout
    return None
