"""How candidates end, and the loop-breaker that counts those that were shown worse."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from noria.loop import evidence
from noria.loop.state import Breaker, Outcome, Result, Rollout, RunKind
from noria.loop.turn import DOWN_ALERT, Turn, name
from noria.loop.values import GateResult, Verdict

BREAKER_ALERT: Final = "loop-breaker"
"""The alert that stands while the loop-breaker is open."""

_REMEMBERED: Final = 20


def finish(turn: Turn, rollout: Rollout, result: Result, reason: str) -> None:
    """End the rollout in progress."""
    turn.update(rollout=None)
    if result is Result.PROMOTED:
        promote(turn, rollout.version, rollout.as_of, rollout.gates)
        turn.change(
            "champion",
            f"{name(rollout.version)} is the champion: {reason}",
            version=rollout.version,
            before=rollout.champion,
        )
    else:
        turn.change("rollout", f"{name(rollout.version)}: rollout over, {result}: {reason}")
    turn.clear_alert(DOWN_ALERT)
    _record(
        turn,
        rollout.version,
        rollout.champion,
        result,
        reason,
        rollout.cause,
        rollout,
        rollout.gates,
    )
    if result is Result.ABORTED and not rollout.overtaken:
        _lost(turn, rollout.version, rollout.gates, shown_worse=rollout.failed)


def refuse(
    turn: Turn,
    version: str,
    champion: str | None,
    reason: str,
    *,
    cause: str,
    gates: tuple[GateResult, ...],
    overtaken: bool,
) -> None:
    """End a candidate that may not take any traffic.

    ``overtaken``: it was measured against a champion of the past, so its refusal
    says nothing about how good it is and doesn't count for the loop-breaker.
    """
    turn.change("candidate", f"{name(version)}: refused, {reason}", version=version, gates=gates)
    _record(turn, version, champion, Result.REFUSED, reason, cause, None, gates)
    if not overtaken:
        worse = any(g.verdict is Verdict.FAIL for g in gates)
        _lost(turn, version, gates, shown_worse=worse)


def promote(turn: Turn, version: str, as_of: datetime, gates: tuple[GateResult, ...] = ()) -> None:
    """Make a version the champion in the state; candidates in a row count anew."""
    turn.update(champion=version, champion_as_of=as_of)
    evidence.won(turn, gates)


def _lost(turn: Turn, version: str, gates: tuple[GateResult, ...], *, shown_worse: bool) -> None:
    """Thin the tries out; and count for the loop-breaker what was shown, not what is unknown."""
    run = next((r for r in turn.state.runs if r.version == version), None)
    if run is not None and run.kind is RunKind.AUTOMATIC:
        evidence.learn(turn, gates, run.signals, promoted=False)
    if not shown_worse:
        return
    losses = turn.state.losses + 1
    turn.update(losses=losses)
    limit = turn.spec.retraining.give_up_after
    if losses < limit or turn.state.breaker is not None:
        return
    openings = turn.state.openings + 1
    closes = evidence.closes_at(turn.spec, openings, evidence.rows_of(turn))
    until = (
        "enough labelled rows have come" if closes is None else f"there are {closes} labelled rows"
    )
    said = (
        f"{losses} candidates in a row were shown worse or failed in canary, the last of them "
        f"{name(version)}; no signal starts a run until {until}, or a person resets it"
    )
    turn.update(breaker=Breaker(turn.now, losses, said, closes), openings=openings)
    turn.change("breaker", f"the loop-breaker opens: {said}", losses=losses, limit=limit)
    turn.raise_alert(BREAKER_ALERT, said)


def _record(
    turn: Turn,
    version: str,
    champion: str | None,
    result: Result,
    reason: str,
    cause: str,
    rollout: Rollout | None,
    gates: tuple[GateResult, ...] = (),
) -> None:
    evidence = rollout.evidence if rollout is not None else ()
    ended = Outcome(version, champion, result, reason, turn.now, cause, gates, evidence)
    turn.update(outcomes=(*turn.state.outcomes, ended)[-_REMEMBERED:])
    turn.count(f"rollout/{result.value}")
