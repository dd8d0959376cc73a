"""The commands that this process put into inboxes, and what became of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from noria.loop.values import Command
from noria.places import Detail
from noria.ui.chronicle import Line
from noria.view import Attendance

_MOST: Final = 1000
_KINDS: Final = frozenset({"command", "rollout", "run", "breaker"})
"""Kinds of the notes that the loop writes when it obeys."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """``after``: where the model's ledger ended when the command was accepted."""

    model: str
    command: Command
    after: int


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a command.

    Attributes:
        verb: What was asked for.
        waits: Whether it is in the inbox still.
        said: What the ledger says of it, empty while that is not known.
        unattended: Whether no loop runs that could take it.
    """

    verb: str
    waits: bool
    said: str
    unattended: bool


def command_id(key: str) -> str:
    """Return the id of the command of a form: the same form is the same command."""
    return f"ui-{key}"


class SentCommands:
    """The newest commands by their form's key. Forgotten with the process, as its forms are."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, _Sent] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        """Whether a form was taken already."""
        return key in self._sent

    def note(self, key: str, detail: Detail, command: Command) -> None:
        """Remember a command that was put into the inbox of the model of ``detail``."""
        after = 0 if detail.state is None else detail.state.head.sequence
        self._sent[key] = _Sent(detail.view.name, command, after)
        while len(self._sent) > _MOST:
            self._sent.popitem(last=False)

    def fate(self, key: str, detail: Detail, recent: Sequence[Line]) -> Fate | None:
        """Return what became of a command, None when this process sent none of it to the model.

        Args:
            key: Of its form.
            detail: The model, read before the ledger was.
            recent: The newest lines of its ledger, oldest first.
        """
        sent = self._sent.get(key)
        if sent is None or sent.model != detail.view.name:
            return None
        waits = any(message.id == sent.command.id for message in detail.inbox)
        said = (
            line.text
            for line in recent
            if line.sequence > sent.after and line.kind in _KINDS and sent.command.by in line.text
        )
        return Fate(
            verb=sent.command.verb.value,
            waits=waits,
            said="" if waits else next(said, ""),
            unattended=detail.view.attendance is not Attendance.TURNING,
        )
