"""The one decision function. Pure: no input or output, no clock, no randomness."""

from __future__ import annotations

from datetime import datetime

from noria.loop import champion, commands, notices, retraining, rollout, runs
from noria.loop.state import Decision, Observation, State
from noria.loop.turn import Turn, name
from noria.spec import ModelSpec


def decide(spec: ModelSpec, state: State, observation: Observation, now: datetime) -> Decision:
    """Decide what to do next.

    Total and deterministic: the same four values give the same decision, and no
    value makes it raise. ``now`` is aware, in UTC, and need not rise.
    """
    turn = Turn(spec, state, observation, now)
    commands.obey(turn)
    notices.take(turn)
    rollout.advance(turn)
    champion.notice(turn)
    runs.follow(turn)
    champion.serve(turn)
    retraining.consider(turn)
    if not turn.notes:
        turn.hold("steady", f"{name(turn.state.champion)} has all the traffic; nothing to do")
    return turn.decision()
