"""What keeps a model from being served."""

from __future__ import annotations

from collections.abc import Sequence

from noria.loop.state import State
from noria.loop.turn import name
from noria.loop.values import RunPhase


def stuck(state: State) -> bool:
    """Whether the first training is over and there is nothing to serve, nor in the making."""
    busy = state.run is not None or state.rollout is not None or bool(state.train_asked)
    return not busy and state.champion is None and bool(state.runs)


def stuck_text(state: State) -> str:
    """Say why there is no version to serve, nor one in the making; empty unless that is so."""
    if not stuck(state):
        return ""
    last = state.runs[-1]
    if last.ended is not RunPhase.SUCCEEDED:
        ended = "is lost" if last.ended is None else last.ended.value
        return f"run {last.run_id} {ended}, so there is no version to serve"
    ends = [outcome.reason for outcome in state.outcomes if outcome.version == last.version]
    return f"v{last.version} may not be served: {ends[-1] if ends else 'see the ledger'}"


def down_text(versions: Sequence[str], reasons: Sequence[str]) -> str:
    """Say that versions do not answer, and why: ``v7 does not answer: HTTP 502``."""
    verb = "does" if len(versions) == 1 else "do"
    why = "; ".join(reason for reason in reasons if reason)
    said = f"{' and '.join(map(name, versions))} {verb} not answer"
    return f"{said}: {why}" if why else said
