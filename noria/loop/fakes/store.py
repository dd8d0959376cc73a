"""A store in memory. It keeps bytes, as real stores do, so what can't be written can't be kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from noria.errors import Conflict
from noria.loop.ledger import LedgerEntry
from noria.loop.state import State, Stored
from noria.loop.values import Message, from_json, message_from_json, to_json


class MemoryStore:
    """A ``Store`` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, tuple[bytes, int]] = {}
        self._ledgers: dict[str, list[bytes]] = {}
        self._messages: dict[str, dict[str, bytes]] = {}
        self._consumed: dict[str, set[str]] = {}

    def load(self, model: str) -> Stored | None:
        """Return the state and its revision."""
        if model not in self._states:
            return None
        data, revision = self._states[model]
        return Stored(from_json(data, State), revision)

    def compare_and_swap(
        self,
        model: str,
        state: State,
        revision: int,
        entries: Sequence[LedgerEntry],
        consumed: Sequence[str] = (),
    ) -> int:
        """Write everything or nothing."""
        with self._lock:
            now = self._states[model][1] if model in self._states else 0
            if now != revision:
                raise Conflict(f"the state of {model!r} is at revision {now}, not {revision}")
            last = len(self._ledgers.get(model, []))
            for offset, entry in enumerate(entries, start=1):
                if entry.sequence != last + offset:
                    raise Conflict(f"entry {entry.sequence} does not follow entry {last}")
            self._states[model] = (to_json(state), revision + 1)
            self._ledgers.setdefault(model, []).extend(to_json(e) for e in entries)
            self._consumed.setdefault(model, set()).update(consumed)
        return revision + 1

    def entries(self, model: str, after: int = 0) -> Iterator[LedgerEntry]:
        """Yield ledger entries in order."""
        for data in self._ledgers.get(model, [])[after:]:
            yield from_json(data, LedgerEntry)

    def submit(self, model: str, message: Message) -> bool:
        """Keep a message, once by id."""
        messages = self._messages.setdefault(model, {})
        new = message.id not in messages
        messages.setdefault(message.id, to_json(message))
        return new

    def inbox(self, model: str) -> tuple[Message, ...]:
        """Return what is not consumed."""
        taken = self._consumed.get(model, set())
        return tuple(
            message_from_json(data)
            for key, data in self._messages.get(model, {}).items()
            if key not in taken
        )
