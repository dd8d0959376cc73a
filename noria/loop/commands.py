"""What people ask for, applied to the state before anything else is decided."""

from __future__ import annotations

import msgspec

from noria.loop import rollout, runs
from noria.loop.outcomes import BREAKER_ALERT
from noria.loop.state import RolloutPhase
from noria.loop.turn import Turn, name
from noria.loop.values import Command, Verb


def obey(turn: Turn) -> None:
    """Apply every command in the inbox, in order. The engine takes them out with this decision."""
    for message in turn.observation.inbox:
        if isinstance(message, Command):
            _obey(turn, message)


def _obey(turn: Turn, command: Command) -> None:
    by = command.by + (f" ({command.reason})" if command.reason else "")
    match command.verb:
        case Verb.TRAIN:
            turn.update(train_asked=f"asked for by {by}")
            turn.change("command", f"{by} asked for a training run", command=command.id)
        case Verb.RESET_BREAKER:
            _reset(turn, by)
        case Verb.ABORT:
            _abort(turn, by)
        case Verb.PROMOTE:
            _promote(turn, by)
        case Verb.PAUSE:
            _pause(turn, by)
        case Verb.RESUME:
            _resume(turn, by)


def _reset(turn: Turn, by: str) -> None:
    breaker = turn.state.breaker
    if breaker is None:
        turn.change("command", f"{by} reset the loop-breaker, which was not open")
    else:
        turn.change("breaker", f"{by} reset the loop-breaker; signals may start runs again")
    turn.update(breaker=None, losses=0)
    turn.clear_alert(BREAKER_ALERT)


def _abort(turn: Turn, by: str) -> None:
    current = turn.state.rollout
    if current is not None:
        if current.phase is RolloutPhase.ABORTING:
            turn.change("command", f"{by} asked for an abort; {name(current.version)} is aborting")
        else:
            rollout.abort(turn, current, f"{by} aborted it")
    elif turn.state.run is not None and not turn.state.run.cancelled:
        runs.cancel(turn, turn.state.run, f"{by} cancelled it")
    else:
        turn.change("command", f"{by} asked for an abort, but nothing is in progress")


def _promote(turn: Turn, by: str) -> None:
    current = turn.state.rollout
    if current is None:
        turn.change("command", f"{by} asked for a promotion, but no rollout is in progress")
    elif current.phase is RolloutPhase.ABORTING:
        turn.change("command", f"{by} asked for a promotion of {name(current.version)}: too late")
    else:
        turn.update(rollout=msgspec.structs.replace(current, forced=True, paused=None))
        turn.change(
            "command",
            f"{by} promotes {name(current.version)} without waiting for the remaining steps",
            version=current.version,
        )


def _pause(turn: Turn, by: str) -> None:
    current = turn.state.rollout
    if current is None:
        turn.change("command", f"{by} asked for a pause, but no rollout is in progress")
    elif current.phase in (RolloutPhase.PROMOTING, RolloutPhase.ABORTING):
        turn.change(
            "command", f"{by} asked for a pause of {name(current.version)}: it is {current.phase}"
        )
    elif current.paused is not None:
        turn.change("command", f"{by} asked for a pause of {name(current.version)} again")
    else:
        turn.update(rollout=msgspec.structs.replace(current, paused=turn.now))
        turn.change("command", f"{by} paused the rollout of {name(current.version)}")


def _resume(turn: Turn, by: str) -> None:
    current = turn.state.rollout
    if current is None or current.paused is None:
        turn.change("command", f"{by} asked to resume, but no rollout is paused")
        return
    # Time spent paused is not time that the step had.
    waited = turn.now - current.paused
    turn.update(
        rollout=msgspec.structs.replace(current, paused=None, entered=current.entered + waited)
    )
    turn.change("command", f"{by} resumed the rollout of {name(current.version)}")
