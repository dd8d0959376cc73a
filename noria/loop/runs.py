"""The run in flight: started once, followed to its end, its candidate let in or refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from noria.loop import outcomes, rollout
from noria.loop.gates import objections
from noria.loop.state import (
    ActiveRun,
    CancelRun,
    Rollout,
    RolloutPhase,
    RunKind,
    RunRecord,
    StartRun,
)
from noria.loop.turn import GRACE_LOOKS, Turn, name
from noria.loop.values import GateResult, RunPhase, RunRequest, RunResult, RunStatus, SignalKind

KIND: Final = "run"

LOST_AFTER: Final = timedelta(minutes=10)
"""How long the runner may not know a run before it counts as lost (and three looks)."""

FAILED_ALERT: Final = "run-failed"
"""The alert that stands from a run that made no candidate to the next that does."""

_KEPT: Final = 50


def start(turn: Turn, kind: RunKind, cause: str, signals: tuple[SignalKind, ...] = ()) -> None:
    """Start a run on what is known now. There must be none in flight."""
    number = turn.state.runs_started + 1
    run_id = f"{turn.state.model}-{turn.now:%Y%m%dt%H%M%S}-{number}"
    request = RunRequest(run_id, turn.state.model, turn.now, cause, turn.state.champion)
    record = RunRecord(run_id, kind, turn.now, cause, signals=signals)
    turn.update(
        run=ActiveRun(request, kind),
        runs=(*_counted(turn), record),
        runs_started=number,
    )
    turn.want(StartRun("", request))
    turn.change(KIND, f"run {run_id} starts: {cause}", run=run_id, why=kind, cause=cause)


def _counted(turn: Turn) -> tuple[RunRecord, ...]:
    """Forget runs that no limit counts any more."""
    runs = turn.state.runs
    horizon = turn.now - max(turn.spec.retraining.budget.per, timedelta(days=1))
    return (*(r for r in runs[:-_KEPT] if r.as_of > horizon), *runs[-_KEPT:])


def cancel(turn: Turn, run: ActiveRun, reason: str) -> None:
    """Stop the run in flight. It has counted; it makes no candidate."""
    run_id = run.request.run_id
    # A start that failed may have arrived all the same: it is cancelled too.
    turn.withdraw(f"start/{run_id}")
    turn.want(CancelRun("", run_id))
    turn.update(run=msgspec.structs.replace(run, cancelled=reason))
    turn.change(KIND, f"run {run_id} is to be cancelled: {reason}", run=run_id)


def _cancelled(turn: Turn, run: ActiveRun, status: RunStatus) -> None:
    """Wait until a cancelled run is over, so that no other starts beside it."""
    run_id = run.request.run_id
    if status.phase in (RunPhase.PENDING, RunPhase.RUNNING):
        turn.want(CancelRun("", run_id))
        turn.hold(KIND, f"run {run_id} is being cancelled; it is {status.phase}", run=run_id)
        return
    turn.withdraw(f"cancel/{run_id}")
    _end(turn, run, RunPhase.CANCELLED)
    turn.change(KIND, f"run {run_id} is over: {run.cancelled}", run=run_id)


def follow(turn: Turn) -> None:
    """See how the run in flight is doing."""
    run = turn.state.run
    if run is None:
        _adopt_first_version(turn)
        return
    run_id = run.request.run_id
    waiting = turn.waiting(f"start/{run_id}")
    status = turn.observation.run
    if waiting is not None:
        why = f" ({waiting.problem})" if waiting.problem else ""
        turn.hold(KIND, f"run {run_id} is not started yet{why}")
    elif status is None or status.run_id != run_id:
        problem = turn.observation.problems.get("pipelines", "it was not looked at")
        turn.hold(KIND, f"run {run_id} can't be seen: {problem}")
    elif run.cancelled:
        _cancelled(turn, run, status)
    elif status.phase is RunPhase.UNKNOWN:
        _unknown(turn, run)
    elif status.phase in (RunPhase.PENDING, RunPhase.RUNNING):
        if run.unknown_seen:
            known = msgspec.structs.replace(run, unknown_since=None, unknown_seen=0)
            turn.update(run=known)
        doing = f": {status.detail}" if status.detail else ""
        turn.hold(KIND, f"run {run_id} is {status.phase}{doing}", run=run_id)
    elif status.phase is RunPhase.SUCCEEDED and status.result is not None:
        _succeeded(turn, run, status.result)
    elif status.phase is RunPhase.SUCCEEDED:
        _failed(turn, run, RunPhase.FAILED, "it ended without a result")
    else:
        _failed(turn, run, status.phase, status.detail or "the runner says no more")


def _unknown(turn: Turn, run: ActiveRun) -> None:
    since = run.unknown_since or turn.now
    seen = min(run.unknown_seen + 1, GRACE_LOOKS)
    if seen >= GRACE_LOOKS and turn.now - since >= LOST_AFTER:
        # Should it turn up after all, it must not go on beside the next.
        turn.want(CancelRun("", run.request.run_id))
        _failed(turn, run, RunPhase.UNKNOWN, f"the runner has not known it since {since}")
        return
    turn.update(run=msgspec.structs.replace(run, unknown_since=since, unknown_seen=seen))
    turn.hold(KIND, f"run {run.request.run_id} is unknown to the runner; given up after 10 minutes")


def _failed(turn: Turn, run: ActiveRun, phase: RunPhase, detail: str) -> None:
    run_id = run.request.run_id
    _end(turn, run, phase)
    said = f"run {run_id} made no candidate ({phase}): {detail}"
    turn.change(KIND, said, run=run_id, phase=phase)
    turn.raise_alert(FAILED_ALERT, said)


def _succeeded(turn: Turn, run: ActiveRun, result: RunResult) -> None:
    registry = turn.observation.registry
    if registry is None or turn.state.rollout is not None:
        # Who the champion is decides whether the candidate may start: no guess.
        turn.hold(KIND, f"{name(result.version)}: waits until the registry says who is champion")
        return
    run_id = run.request.run_id
    _end(turn, run, RunPhase.SUCCEEDED, result.version)
    turn.clear_alert(FAILED_ALERT)
    turn.change(
        KIND,
        f"run {run_id} made {name(result.version)} from {result.rows} rows",
        run=run_id,
        version=result.version,
        rows=result.rows,
        metrics=result.metrics,
    )
    _candidate(
        turn,
        result.version,
        result.gates,
        result.champion,
        as_of=run.request.as_of,
        cause=run.request.reason,
    )


def _candidate(
    turn: Turn,
    version: str,
    gates: tuple[GateResult, ...],
    measured_against: str | None,
    *,
    as_of: datetime,
    cause: str,
) -> None:
    champion = turn.state.champion
    said = objections(turn.spec, gates, measured_against, champion)
    if version == champion or any(o.version == version for o in turn.state.outcomes):
        said.insert(0, "it was judged before")
    if said:
        outcomes.refuse(
            turn,
            version,
            champion,
            "; ".join(said),
            cause=cause,
            gates=gates,
            overtaken=measured_against != champion,
        )
        return
    rollout.begin(
        turn,
        Rollout(
            version,
            champion,
            turn.now,
            as_of,
            cause,
            RolloutPhase.DEPLOYING,
            turn.now,
            gates=gates,
        ),
    )


def _adopt_first_version(turn: Turn) -> None:
    """Take the newest registered version when there never was a champion."""
    state, registry = turn.state, turn.observation.registry
    if state.rollout is not None or state.champion_as_of is not None or registry is None:
        return
    judged = {o.version for o in state.outcomes}
    made = {r.version for r in state.runs}
    fresh = [v for v in registry.versions if v.version not in judged | made]
    if registry.champion is None and fresh:
        found = fresh[-1]
        _candidate(
            turn,
            found.version,
            found.gates,
            found.champion,
            as_of=min(found.created, turn.now),
            cause="it was registered before there was a champion",
        )


def _end(turn: Turn, run: ActiveRun, phase: RunPhase, version: str | None = None) -> None:
    ended = tuple(
        msgspec.structs.replace(r, ended=phase, version=version, over=turn.now)
        if r.run_id == run.request.run_id
        else r
        for r in turn.state.runs
    )
    turn.update(run=None, runs=ended)
    turn.count(f"run/{run.kind.value}/{phase.value}")
