"""How candidates end, and the loop-breaker that counts those that did not win."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from noria.loop.state import Breaker, Outcome, Result, Rollout
from noria.loop.turn import Turn, name
from noria.loop.values import GateResult

BREAKER_ALERT: Final = "loop-breaker"
"""The alert that stands while the loop-breaker is open."""

_REMEMBERED: Final = 20


def finish(turn: Turn, rollout: Rollout, result: Result, reason: str) -> None:
    """End the rollout in progress."""
    turn.update(rollout=None)
    if result is Result.PROMOTED:
        promote(turn, rollout.version, rollout.as_of)
        turn.change(
            "champion",
            f"{name(rollout.version)} is the champion: {reason}",
            version=rollout.version,
            before=rollout.champion,
        )
    else:
        turn.change("rollout", f"{name(rollout.version)}: rollout over, {result}: {reason}")
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
        _lost(turn, rollout.version)


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
        _lost(turn, version)


def promote(turn: Turn, version: str, as_of: datetime) -> None:
    """Make a version the champion in the state; candidates in a row count anew."""
    turn.update(champion=version, champion_as_of=as_of, losses=0)


def _lost(turn: Turn, version: str) -> None:
    losses = turn.state.losses + 1
    turn.update(losses=losses)
    limit = turn.spec.retraining.give_up_after
    if losses < limit or turn.state.breaker is not None:
        return
    said = (
        f"{losses} candidates in a row did not win, the last of them {name(version)}; "
        f"no signal starts a run until a person resets it"
    )
    turn.update(breaker=Breaker(turn.now, losses, said))
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
