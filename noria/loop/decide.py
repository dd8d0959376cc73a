"""The one decision function. Pure: no input or output, no clock, no randomness."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from noria.loop import champion, commands, notices, retraining, rollout, runs
from noria.loop.state import Decision, Hold, Observation, State
from noria.loop.turn import Turn, name
from noria.spec import ModelSpec

LEDGER: Final = "ledger"
"""The observed problem of a ledger that does not fit its anchor."""

LEDGER_ALERT: Final = "ledger-broken"
"""The alert that stands while it does not: somebody changed decisions afterwards."""


def decide(spec: ModelSpec, state: State, observation: Observation, now: datetime) -> Decision:
    """Decide what to do next.

    Total and deterministic: the same four values give the same decision, and no
    value makes it raise. ``now`` is aware, in UTC, and need not rise.
    """
    turn = Turn(spec, state, observation, now)
    champion.doubt(turn)
    _doubt_ledger(turn)
    commands.obey(turn)
    notices.take(turn)
    rollout.advance(turn)
    champion.notice(turn)
    runs.follow(turn)
    champion.serve(turn)
    retraining.consider(turn)
    kinds = (rollout.KIND, runs.KIND, retraining.KIND)
    held = (note for note in turn.notes if not note.change and note.kind in kinds)
    turn.update(holds=tuple(Hold(note.kind, note.text) for note in held))
    if not turn.notes:
        turn.hold("steady", f"{name(turn.state.champion)} has all the traffic; nothing to do")
    return turn.decision()


def _doubt_ledger(turn: Turn) -> None:
    broken = turn.observation.problems.get(LEDGER)
    if broken:
        turn.raise_alert(LEDGER_ALERT, broken)
    elif turn.observation.registry is not None:
        turn.clear_alert(LEDGER_ALERT)
