"""Doing what was decided: the outbox, item by item, each with its own bounded backoff."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from noria.errors import Conflict, NoriaError
from noria.loop.ports import Alerts, Pipelines, Registry, Traffic
from noria.loop.state import (
    Action,
    CancelRun,
    ClearAlert,
    Deploy,
    Note,
    Pending,
    RaiseAlert,
    Retire,
    SetAlias,
    SetWeights,
    StartRun,
)

_LONGEST_WAIT: Final = timedelta(seconds=60)
_MOST_DOUBLINGS: Final = 6


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of some outbox items, by action id. ``failed`` ones stay, to be tried later."""

    done: frozenset[str]
    failed: dict[str, Pending]
    notes: tuple[Note, ...]

    def apply(self, outbox: Sequence[Pending]) -> tuple[Pending, ...]:
        """Return the outbox as it is after this; items that came since are kept."""
        return tuple(
            self.failed.get(p.action.id, p) for p in outbox if p.action.id not in self.done
        )


@dataclass(frozen=True, slots=True)
class Actuator:
    """The ports that actions go to, while ``leads`` says that this process may act."""

    model: str
    pipelines: Pipelines
    registry: Registry
    traffic: Traffic
    alerts: Alerts
    leads: Callable[[], bool]

    def act(self, outbox: Sequence[Pending], now: datetime) -> Acted:
        """Do every item that is due. Nothing that a port raises on purpose gets out."""
        done: set[str] = set()
        failed: dict[str, Pending] = {}
        notes: list[Note] = []
        for item in outbox:
            if not self.leads():
                break
            if item.not_before is not None and item.not_before > now:
                notes.append(_note(item, f"tried again at {item.not_before:%H:%M:%S}"))
                continue
            try:
                self._do(item.action)
            except Conflict as error:
                # Trying again can't help: the next decision starts from what it now is.
                done.add(item.action.id)
                notes.append(_note(item, f"given up: {error}", change=True))
            except NoriaError as error:
                later = _later(item, now, str(error))
                failed[item.action.id] = later
                said = f"failed, attempt {later.attempts}: {error}"
                notes.append(_note(item, said, change=later.attempts == 1))
            else:
                done.add(item.action.id)
        return Acted(frozenset(done), failed, tuple(notes))

    def _do(self, action: Action) -> None:
        match action:
            case StartRun():
                self.pipelines.start(action.request)
            case CancelRun():
                self.pipelines.cancel(action.run_id)
            case Deploy():
                self.traffic.deploy(self.model, action.version)
            case SetWeights():
                self.traffic.set_weights(self.model, action.weights)
            case Retire():
                self.traffic.retire(self.model, action.version)
            case SetAlias():
                self._set_alias(action)
            case RaiseAlert():
                self.alerts.raise_alert(self.model, action.alert)
            case ClearAlert():
                self.alerts.clear_alert(self.model, action.name)

    def _set_alias(self, action: SetAlias) -> None:
        try:
            self.registry.set_alias(
                self.model, action.alias, action.version, expected=action.expected
            )
        except Conflict:
            # Our own move, done before a crash could tell, is no conflict.
            if self.registry.alias(self.model, action.alias) != action.version:
                raise


def failing(outbox: Sequence[Pending]) -> dict[str, str]:
    """Return why actions are not done yet, by the port that does not do them."""
    return {_port(item.action): item.problem for item in outbox if item.problem}


def _port(action: Action) -> str:
    match action:
        case StartRun() | CancelRun():
            return "pipelines"
        case Deploy() | SetWeights() | Retire():
            return "traffic"
        case SetAlias():
            return "registry"
        case RaiseAlert() | ClearAlert():
            return "alerts"


def _later(item: Pending, now: datetime, problem: str) -> Pending:
    wait = min(timedelta(seconds=2 ** min(item.attempts, _MOST_DOUBLINGS)), _LONGEST_WAIT)
    return msgspec.structs.replace(
        item, attempts=item.attempts + 1, not_before=now + wait, problem=problem
    )


def _note(item: Pending, said: str, *, change: bool = False) -> Note:
    facts = {"action": item.action.id, "problem": item.problem}
    return Note("action", f"{item.action.id}: {said}", facts, change=change)
