"""What a person may do with a model now, and why not the rest."""

from __future__ import annotations

from dataclasses import dataclass

from noria.loop.state import RolloutPhase, State
from noria.loop.values import Command, Verb
from noria.places import Detail

ORDER = (Verb.PROMOTE, Verb.PAUSE, Verb.RESUME, Verb.ABORT, Verb.TRAIN, Verb.RESET_BREAKER)
"""As the page shows them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One button. ``why_not`` is a key of the words; empty when the button works."""

    verb: Verb
    why_not: str = ""

    @property
    def enabled(self) -> bool:
        """Whether it makes sense now."""
        return not self.why_not


def choices(detail: Detail, *, read_only: bool) -> tuple[Choice, ...]:
    """Return every button, in the order of the page."""
    return tuple(Choice(verb, _why_not(verb, detail, read_only=read_only)) for verb in ORDER)


def choice(verb: Verb, detail: Detail, *, read_only: bool) -> Choice:
    """Return one button."""
    return Choice(verb, _why_not(verb, detail, read_only=read_only))


def _why_not(verb: Verb, detail: Detail, *, read_only: bool) -> str:
    if read_only:
        return "read-only"
    state = detail.state
    if state is None:
        return "never-started"
    if any(isinstance(m, Command) and m.verb is verb for m in detail.inbox):
        return "in-the-inbox"
    match verb:
        case Verb.PROMOTE:
            return _promote(state)
        case Verb.ABORT:
            return _abort(state)
        case Verb.PAUSE:
            return _pause(state)
        case Verb.RESUME:
            paused = state.rollout is not None and state.rollout.paused is not None
            return "" if paused else "not-paused"
        case Verb.TRAIN:
            if state.run is not None:
                return "run-in-flight"
            return "run-asked" if state.train_asked else ""
        case Verb.RESET_BREAKER:
            return "" if state.breaker is not None else "breaker-closed"


def _promote(state: State) -> str:
    if state.rollout is None:
        return "no-rollout"
    if state.rollout.phase is RolloutPhase.ABORTING:
        return "aborting"
    promoting = state.rollout.forced or state.rollout.phase is RolloutPhase.PROMOTING
    return "promoting" if promoting else ""


def _abort(state: State) -> str:
    if state.rollout is not None:
        return "aborting" if state.rollout.phase is RolloutPhase.ABORTING else ""
    if state.run is None:
        return "nothing-to-abort"
    return "cancelling" if state.run.cancelled else ""


def _pause(state: State) -> str:
    if state.rollout is None:
        return "no-rollout"
    if state.rollout.paused is not None:
        return "already-paused"
    match state.rollout.phase:
        case RolloutPhase.ABORTING:
            return "aborting"
        case RolloutPhase.PROMOTING:
            return "promoting"
    return ""
