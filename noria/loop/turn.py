"""One turn of ``decide`` in the making: the only mutable thing in it, and it never leaves it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from noria.loop.state import (
    Action,
    Alert,
    CancelRun,
    ClearAlert,
    Decision,
    Deploy,
    Note,
    Observation,
    Pending,
    RaiseAlert,
    Retire,
    SetAlias,
    SetWeights,
    StartRun,
    State,
    Wish,
)
from noria.spec import ModelSpec

DOWN_ALERT: Final = "not-served"
"""The alert that stands while a version that should answer can't, and why is known."""

ASK_AGAIN_AFTER: Final = timedelta(seconds=30)
"""How long the world gets to show what was asked of it before it is asked again."""

GRACE: Final = timedelta(seconds=30)
"""How long a version may be not ready before that counts against it."""

GRACE_LOOKS: Final = 3
"""How many looks in a row must agree with the grace, so that one slow cycle can't use it up."""


def key_of(action: Action) -> str:
    """Return what an action is about; a later action with the same key replaces an earlier one."""
    match action:
        case StartRun():
            return f"start/{action.request.run_id}"
        case CancelRun():
            return f"cancel/{action.run_id}"
        case Deploy():
            return f"deploy/{action.version}"
        case Retire():
            return f"retire/{action.version}"
        case SetWeights():
            return "weights"
        case SetAlias():
            return f"alias/{action.alias}"
        case RaiseAlert():
            return f"alert/{action.alert.name}"
        case ClearAlert():
            return f"alert/{action.name}"


def name(version: str | None) -> str:
    """Write a version as people do: ``v3``."""
    return "no version" if version is None else f"v{version}"


def split(weights: dict[str, int]) -> str:
    """Write a traffic split: ``v2 90 %, v3 10 %``."""
    return ", ".join(f"{name(v)} {w} %" for v, w in weights.items()) or "nothing"


def _same(action: Action, other: Action) -> bool:
    return type(action) is type(other) and msgspec.structs.replace(other, id=action.id) == action


class Turn:
    """The state as it becomes, the actions so far and the notes so far."""

    __slots__ = ("actions", "before", "notes", "now", "observation", "spec", "state")

    def __init__(
        self, spec: ModelSpec, state: State, observation: Observation, now: datetime
    ) -> None:
        self.spec = spec
        self.before = state
        self.state = state
        self.observation = observation
        self.now = now
        self.actions: list[Action] = []
        self.notes: list[Note] = []

    def update(self, **changes: Any) -> None:
        """Replace fields of the state."""
        self.state = msgspec.structs.replace(self.state, **changes)

    def count(self, what: str) -> None:
        """Count something that happened, for ever."""
        tally = self.state.tally
        self.update(tally={**tally, what: tally.get(what, 0) + 1})

    def change(self, kind: str, text: str, **facts: Any) -> None:
        """Say that something happened; it goes to the ledger."""
        self.notes.append(Note(kind, text, facts, change=True))

    def hold(self, kind: str, text: str, **facts: Any) -> None:
        """Say why nothing happens."""
        self.notes.append(Note(kind, text, facts))

    def want(self, action: Action) -> bool:
        """Ask for an action, unless it waits in the outbox or was asked for a moment ago.

        An earlier action about the same thing is withdrawn. Returns whether it is new.
        """
        key = key_of(action)
        state = self.state
        waiting = next((p for p in state.outbox if key_of(p.action) == key), None)
        if waiting is not None and _same(waiting.action, action):
            return False
        if waiting is None and (last := state.wishes.get(key)) is not None:
            recent = self.now - last.at < ASK_AGAIN_AFTER
            if recent and _same(last.action, action):
                return False
        number = state.actions_issued + 1
        action = msgspec.structs.replace(action, id=f"{number}-{key}")
        wishes = {k: w for k, w in state.wishes.items() if self.now - w.at < ASK_AGAIN_AFTER}
        wishes[key] = Wish(action, self.now)
        self.update(
            actions_issued=number,
            outbox=(*(p for p in state.outbox if p is not waiting), Pending(action)),
            wishes=wishes,
        )
        self.actions = [a for a in self.actions if key_of(a) != key]
        self.actions.append(action)
        return True

    def waiting(self, key: str) -> Pending | None:
        """Return the action in the outbox under ``key``, if it is not done yet."""
        return next((p for p in self.state.outbox if key_of(p.action) == key), None)

    def withdraw(self, *keys: str) -> None:
        """Take actions back that are not done yet."""
        if not self.state.outbox and not self.actions:
            return
        if any(key_of(p.action) in keys for p in self.state.outbox):
            self.update(outbox=tuple(p for p in self.state.outbox if key_of(p.action) not in keys))
        self.actions = [a for a in self.actions if key_of(a) not in keys]

    def raise_alert(self, alert: str, text: str) -> None:
        """Tell a person, once."""
        if any(a.name == alert for a in self.state.alerts):
            return
        raised = Alert(alert, text, self.now)
        self.update(alerts=(*self.state.alerts, raised))
        self.want(RaiseAlert("", raised))
        self.change("alert", f"alert {alert}: {text}", alert=alert)

    def clear_alert(self, alert: str) -> None:
        """Say that an alert is over, if it stands."""
        if all(a.name != alert for a in self.state.alerts):
            return
        self.update(alerts=tuple(a for a in self.state.alerts if a.name != alert))
        self.want(ClearAlert("", alert))
        self.change("alert", f"alert {alert} is over", alert=alert)

    def tell_down(self, version: str) -> None:
        """Raise an alert for a version that is not ready, once it is known why."""
        traffic = self.observation.traffic
        why = "" if traffic is None else traffic.problems.get(version, "")
        if why:
            self.raise_alert(DOWN_ALERT, f"{name(version)} can't be served: {why}")

    def decision(self) -> Decision:
        """Return what has been decided."""
        return Decision(self.state, tuple(self.actions), tuple(self.notes))
