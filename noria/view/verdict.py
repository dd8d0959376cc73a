"""How the newest candidate did."""

from __future__ import annotations

from dataclasses import dataclass

from noria.loop.rollout import held
from noria.loop.state import State
from noria.loop.turn import name
from noria.loop.values import Verdict


@dataclass(frozen=True, slots=True)
class LastVerdict:
    """How the newest candidate did in its last step, or how it ended.

    Attributes:
        version: The candidate.
        result: A verdict on a step, or ``promoted``, ``aborted`` or ``refused``.
        detail: Why; empty of a step that passed.
        percent: The candidate's share in the step that was decided; None of anything else.
    """

    version: str
    result: str
    detail: str = ""
    percent: int | None = None


def last_verdict(state: State | None) -> LastVerdict | None:
    """Return how the newest candidate did; None before there was one."""
    if state is None:
        return None
    rollout = state.rollout
    lacks = held(state)
    if rollout is not None and lacks:
        # Not failed, or it would have ended; not passed, or it would have gone on.
        said = lacks.removeprefix(f"{name(rollout.version)}: ")
        return LastVerdict(rollout.version, Verdict.INCONCLUSIVE.value, said)
    if rollout is not None and rollout.evidence:
        seen = rollout.evidence[-1]
        worst = next((j for j in seen.judged if j.verdict is not Verdict.PASS), None)
        if worst is None:
            return LastVerdict(rollout.version, Verdict.PASS.value, percent=seen.percent)
        return LastVerdict(rollout.version, worst.verdict.value, worst.detail, seen.percent)
    if not state.outcomes:
        return None
    outcome = state.outcomes[-1]
    return LastVerdict(outcome.version, outcome.result.value, outcome.reason)


def verdict_text(last: LastVerdict | None) -> str:
    """Say how the newest candidate did: ``v8 pass at 20 %``, ``v8 aborted: ann aborted it``."""
    return "" if last is None else f"{name(last.version)} {last.result}{_why(last)}"


def why_text(last: LastVerdict) -> str:
    """Say the same without the result, where that is shown beside it: ``v8 at 20 %``."""
    return f"{name(last.version)}{_why(last)}"


def _why(last: LastVerdict) -> str:
    at = "" if last.percent is None else f" at {last.percent} %"
    return f"{at}: {last.detail}" if last.detail else at
