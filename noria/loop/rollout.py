"""A candidate on its way: deploy, canary steps, promotion, or back to the champion.

Level-triggered: each turn compares what is wanted with what is seen and asks
for the difference, so lost, repeated and half-done actions mend themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from noria.loop import outcomes, sizing, steps
from noria.loop.ports import CHAMPION, ERROR_RATE
from noria.loop.state import (
    Deploy,
    Judged,
    Result,
    Rollout,
    RolloutPhase,
    SetAlias,
    SetWeights,
    State,
    StepEvidence,
    TrafficView,
)
from noria.loop.turn import DOWN_ALERT, GRACE, GRACE_LOOKS, Turn, name, split
from noria.loop.values import MetricQuery, Verdict
from noria.spec import ModelSpec
from noria.spec.units import format_duration

KIND: Final = "rollout"


def queries(spec: ModelSpec, state: State) -> tuple[MetricQuery, ...]:
    """Return what must be measured for the step in force; empty when nothing is."""
    current = state.rollout
    if current is None or current.since is None or current.phase is not RolloutPhase.STEPPING:
        return ()
    compared = {ERROR_RATE: False}
    for check in spec.serving.canary.analysis:
        compared[check.metric] = compared.get(check.metric, False) or check.max_drop is not None
    return tuple(
        MetricQuery(
            state.model,
            current.version,
            metric,
            current.since,
            current.champion if against else None,
        )
        for metric, against in compared.items()
    )


def begin(turn: Turn, rollout: Rollout) -> None:
    """Start a rollout of a candidate whose gates have passed. There must be none yet."""
    turn.update(rollout=rollout)
    turn.want(Deploy("", rollout.version))
    shown = "; ".join(gate.detail for gate in rollout.gates if gate.detail)
    passed = f"its gates passed ({shown})" if shown else "its gates passed"
    way = "it is the first version" if rollout.champion is None else passed
    turn.change(
        KIND,
        f"{name(rollout.version)}: rollout begins, {way}",
        version=rollout.version,
        champion=rollout.champion,
        cause=rollout.cause,
    )


def abort(
    turn: Turn,
    rollout: Rollout,
    reason: str,
    judged: Sequence[Judged] = (),
    *,
    failed: bool = False,
) -> None:
    """Turn a rollout round: all traffic back to the champion. Its evidence is kept.

    ``failed``: a check failed, or it could not be served; the loop-breaker counts that.
    """
    aborting = msgspec.structs.replace(
        rollout,
        phase=RolloutPhase.ABORTING,
        entered=turn.now,
        since=None,
        reason=reason,
        paused=None,
        failed=failed,
        evidence=_with_evidence(turn, rollout, judged),
    )
    turn.withdraw(f"deploy/{rollout.version}", f"alias/{CHAMPION}", "weights")
    turn.update(rollout=aborting)
    turn.change(
        KIND,
        f"{name(rollout.version)}: aborted, {reason}; "
        f"traffic goes back to {name(rollout.champion)}",
        version=rollout.version,
        champion=rollout.champion,
        judged=list(judged),
    )


def advance(turn: Turn) -> None:
    """Take the rollout in progress as far as what is seen allows."""
    if turn.state.rollout is None or not _champion_stands(turn, turn.state.rollout):
        return
    current = turn.state.rollout
    traffic = turn.observation.traffic
    if traffic is None:
        problem = turn.observation.problems.get("traffic", "it was not looked at")
        if not _timed_out(turn, current, "the traffic can't be seen"):
            turn.hold(KIND, f"{name(current.version)}: held, traffic can't be seen: {problem}")
        return
    if current.phase is not RolloutPhase.ABORTING and _is_ready(turn, current, traffic):
        current = turn.state.rollout
        match current.phase:
            case RolloutPhase.DEPLOYING:
                _leave_deploying(turn, current, traffic)
            case RolloutPhase.STEPPING:
                _step(turn, current, traffic)
            case _:
                _promote(turn, current, traffic)
    # An abort, old or of this very turn, gives the traffic back at once.
    if turn.state.rollout.phase is RolloutPhase.ABORTING:
        _give_back(turn, turn.state.rollout, traffic)


def _champion_stands(turn: Turn, rollout: Rollout) -> bool:
    """Compare the registry's champion with the one that this rollout is to replace."""
    registry = turn.observation.registry
    if registry is None or registry.champion == rollout.champion:
        return True
    aborting = rollout.phase is RolloutPhase.ABORTING
    if registry.champion == rollout.version:
        if not rollout.alias_asked:
            outcomes.finish(turn, rollout, Result.PROMOTED, "somebody moved the champion alias")
        elif not aborting:
            outcomes.finish(turn, rollout, Result.PROMOTED, _won(rollout))
        else:
            # The move was on its way when the abort came: take it back.
            turn.want(SetAlias("", CHAMPION, rollout.champion, expected=rollout.version))
            turn.hold(KIND, f"{name(rollout.version)}: the champion alias is being taken back")
            return True
        return False
    if aborting:
        if registry.champion is not None:
            turn.update(rollout=msgspec.structs.replace(rollout, champion=registry.champion))
        return True
    moved = f"the champion is now {name(registry.champion)}, not {name(rollout.champion)}"
    back_to = registry.champion or rollout.champion
    abort(turn, msgspec.structs.replace(rollout, champion=back_to, overtaken=True), moved)
    return True


def _won(rollout: Rollout) -> str:
    if rollout.forced:
        return "a person promoted it"
    if rollout.champion is None:
        return "it is the first version"
    steps = len(rollout.evidence)
    return "it passed its one step" if steps == 1 else f"it passed all of {steps} steps"


def _is_ready(turn: Turn, rollout: Rollout, traffic: TrafficView) -> bool:
    """See whether the candidate can answer; abort when it can't for longer than the grace."""
    ready = traffic.ready.get(rollout.version)
    if ready:
        turn.clear_alert(DOWN_ALERT)
        if rollout.unready_seen:
            turn.update(
                rollout=msgspec.structs.replace(rollout, unready_since=None, unready_seen=0)
            )
        return True
    if ready is None or rollout.phase is not RolloutPhase.DEPLOYING:
        turn.want(Deploy("", rollout.version))
    turn.tell_down(rollout.version)
    said = traffic.problems.get(rollout.version, "")
    why = f": {said}" if said else ""
    if rollout.phase is RolloutPhase.DEPLOYING:
        if not _timed_out(turn, rollout, f"it did not become ready{why}", failed=True):
            problem = _problem(turn, f"deploy/{rollout.version}")
            turn.hold(KIND, f"{name(rollout.version)}: waits until it is ready{problem}{why}")
        return False
    since = rollout.unready_since or turn.now
    seen = min(rollout.unready_seen + 1, GRACE_LOOKS)
    if seen >= GRACE_LOOKS and turn.now - since >= GRACE:
        said = f"it has not been ready since {since:%Y-%m-%d %H:%M:%S}{why}"
        abort(turn, rollout, said, failed=True)
        return False
    turn.update(rollout=msgspec.structs.replace(rollout, unready_since=since, unready_seen=seen))
    turn.hold(KIND, f"{name(rollout.version)}: is not ready; the rollout waits {GRACE.seconds} s")
    return False


def _leave_deploying(turn: Turn, rollout: Rollout, traffic: TrafficView) -> None:
    if rollout.champion is None or rollout.forced:
        _start_promoting(turn, rollout, traffic)
    elif rollout.paused is not None:
        turn.hold(KIND, f"{name(rollout.version)}: is ready; the rollout is paused")
    else:
        _enter(turn, rollout, 0, traffic)


def _enter(turn: Turn, rollout: Rollout, step: int, traffic: TrafficView) -> None:
    canary, family = turn.spec.serving.canary, turn.spec.family
    # Where a small share of little traffic would bring no rows, it protects nobody either.
    while step + 1 < len(canary.steps) and sizing.plan(
        canary, family, canary.steps[step], turn.observation.rows_per_day
    ).starved(canary):
        step += 1
    entered = msgspec.structs.replace(
        rollout, phase=RolloutPhase.STEPPING, step=step, entered=turn.now, since=None
    )
    turn.update(rollout=entered)
    turn.change(
        KIND,
        f"{name(rollout.version)}: {steps.where(turn, entered)} begins",
        version=rollout.version,
        step=step,
        percent=steps.percent(turn, entered),
    )
    _apply(turn, entered, traffic, steps.split_of(turn, entered))
    turn.hold(
        KIND, f"{name(rollout.version)}: {steps.where(turn, entered)} held: {steps.needs(turn)}"
    )


def held(state: State) -> str:
    """Return what the step in force lacks, with the candidate; empty when no step is held."""
    rollout = state.rollout
    if rollout is None or rollout.phase is not RolloutPhase.STEPPING:
        return ""
    return next((hold.text for hold in state.holds if hold.kind == KIND), "")


def _step(turn: Turn, rollout: Rollout, traffic: TrafficView) -> None:
    step = steps.plan(turn, rollout)
    judged = steps.judge_all(turn, rollout, step)
    failed = [j.detail for j in judged if j.verdict is Verdict.FAIL]
    if failed:
        abort(
            turn,
            rollout,
            f"{steps.where(turn, rollout)} failed: {'; '.join(failed)}",
            judged,
            failed=True,
        )
        return
    if rollout.forced:
        _start_promoting(turn, rollout, traffic)
        return
    in_force = _apply(turn, rollout, traffic, steps.split_of(turn, rollout))
    rollout = turn.state.rollout or rollout
    if rollout.paused is not None:
        turn.hold(KIND, f"{name(rollout.version)}: {steps.where(turn, rollout)} is paused")
        return
    unmet = steps.unmet(step, judged)
    if in_force and judged and not unmet:
        _pass(turn, rollout, traffic, judged)
        return
    said = [j.detail for j in unmet]
    if judged and unmet:
        said[-1] += steps.lasts(turn, step, step.rows - steps.answered(turn, rollout))
    if not judged:
        said = [steps.needs(turn)]
    lacks = "; ".join(said) or "the traffic is not split as wanted"
    if not _timed_out(turn, rollout, lacks, judged, step=step):
        turn.hold(
            KIND,
            f"{name(rollout.version)}: {steps.where(turn, rollout)} held: {lacks}",
            version=rollout.version,
            judged=list(judged),
        )


def _pass(turn: Turn, rollout: Rollout, traffic: TrafficView, judged: Sequence[Judged]) -> None:
    passed = msgspec.structs.replace(rollout, evidence=_with_evidence(turn, rollout, judged))
    turn.change(
        KIND,
        f"{name(rollout.version)}: {steps.where(turn, rollout)} passed: "
        f"{'; '.join(j.detail for j in judged)}",
        version=rollout.version,
        judged=list(judged),
    )
    if passed.step + 1 < len(turn.spec.serving.canary.steps):
        _enter(turn, passed, passed.step + 1, traffic)
    else:
        _start_promoting(turn, passed, traffic)


def _start_promoting(turn: Turn, rollout: Rollout, traffic: TrafficView) -> None:
    promoting = msgspec.structs.replace(
        rollout, phase=RolloutPhase.PROMOTING, entered=turn.now, since=None, paused=None
    )
    turn.update(rollout=promoting)
    turn.change(KIND, f"{name(rollout.version)}: takes all the traffic", version=rollout.version)
    _promote(turn, promoting, traffic)


def _promote(turn: Turn, rollout: Rollout, traffic: TrafficView) -> None:
    """Traffic first, then the alias: the alias says who serves, so it must not run ahead."""
    if not _apply(turn, rollout, traffic, {rollout.version: 100}):
        problem = _problem(turn, "weights")
        turn.hold(KIND, f"{name(rollout.version)}: waits for all the traffic{problem}")
        return
    rollout = turn.state.rollout or rollout
    asked = SetAlias("", CHAMPION, rollout.version, expected=rollout.champion)
    if turn.want(asked):
        turn.update(rollout=msgspec.structs.replace(rollout, alias_asked=True))
        turn.change(
            KIND,
            f"{name(rollout.version)}: has all the traffic, becomes the champion "
            f"in place of {name(rollout.champion)}",
            version=rollout.version,
            champion=rollout.champion,
        )
    else:
        problem = _problem(turn, f"alias/{CHAMPION}")
        turn.hold(KIND, f"{name(rollout.version)}: waits for the champion alias{problem}")


def _give_back(turn: Turn, rollout: Rollout, traffic: TrafficView) -> None:
    champion = rollout.champion
    if champion is not None:
        if not traffic.ready.get(champion):
            turn.want(Deploy("", champion))
            turn.hold(KIND, f"{name(champion)}: must be ready before it gets the traffic back")
            return
        if not _apply(turn, rollout, traffic, {champion: 100}):
            problem = _problem(turn, "weights")
            turn.hold(KIND, f"{name(champion)}: waits for the traffic{problem}")
            return
    registry = turn.observation.registry
    if rollout.alias_asked and (registry is None or registry.champion == rollout.version):
        turn.hold(KIND, f"{name(rollout.version)}: waits until the champion alias is back")
        return
    outcomes.finish(turn, turn.state.rollout or rollout, Result.ABORTED, rollout.reason)


def _apply(turn: Turn, rollout: Rollout, traffic: TrafficView, wanted: dict[str, int]) -> bool:
    """Ask for a split unless it is in force; note when it first is. Returns whether it is."""
    seen = {v: w for v, w in traffic.weights.items() if w}
    if seen == wanted:
        turn.withdraw("weights")
        if rollout.since is None:
            turn.update(rollout=msgspec.structs.replace(rollout, since=turn.now))
        return True
    down = [v for v in wanted if not traffic.ready.get(v)]
    for version in down:
        turn.want(Deploy("", version))
    if not down and turn.want(SetWeights("", wanted)):
        again = "again " if rollout.since is not None else ""
        turn.change(
            "traffic",
            f"traffic is {split(seen)}; {again}asked for {split(wanted)}",
            seen=seen,
            wanted=wanted,
        )
    return False


def _timed_out(
    turn: Turn,
    rollout: Rollout,
    held: str,
    judged: Sequence[Judged] = (),
    *,
    step: sizing.Plan | None = None,
    failed: bool = False,
) -> bool:
    """Abort when the step has had its time."""
    limit = steps.limit(turn, rollout, step)
    if limit is None or rollout.paused is not None or turn.now - rollout.entered < limit:
        return False
    said = f"{steps.where(turn, rollout)} had {format_duration(limit)} and is not decided: {held}"
    abort(turn, rollout, said, judged, failed=failed)
    return True


def _with_evidence(
    turn: Turn, rollout: Rollout, judged: Sequence[Judged]
) -> tuple[StepEvidence, ...]:
    if not judged:
        return rollout.evidence
    seen = StepEvidence(rollout.step, steps.percent(turn, rollout), turn.now, tuple(judged))
    return (*rollout.evidence, seen)


def _problem(turn: Turn, key: str) -> str:
    waiting = turn.waiting(key)
    return f" ({waiting.problem})" if waiting is not None and waiting.problem else ""
