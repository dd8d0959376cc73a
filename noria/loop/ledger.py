"""The ledger: every decision, in an append-only chain of hashes.

Each entry carries the sha256 of the entry before it, so an edit, a deletion, an
insertion or a swap breaks the chain at a known place. The state carries the hash
and sequence of the last entry (``Head``), so a cut tail shows as well.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from noria.errors import IntegrityError
from noria.loop.values import Moment, to_json


class Head(msgspec.Struct, frozen=True):
    """The end of a chain: the last entry's sequence (0 before the first) and hash."""

    sequence: int
    hash: str


GENESIS: Final = Head(0, "0" * 64)


class LedgerEntry(msgspec.Struct, frozen=True):
    """One decision. ``notes`` and ``actions`` are its explanation and actions as plain JSON.

    ``hash`` is the sha256 (hex) of the canonical JSON of all the other fields.
    """

    sequence: int
    at: Moment
    model: str
    notes: tuple[Mapping[str, Any], ...]
    actions: tuple[Mapping[str, Any], ...]
    previous: str
    hash: str = ""

    @property
    def head(self) -> Head:
        """The chain's head once this entry is its last."""
        return Head(self.sequence, self.hash)


def digest(entry: LedgerEntry) -> str:
    """Return the hash that ``entry`` must carry."""
    return hashlib.sha256(to_json(msgspec.structs.replace(entry, hash=""))).hexdigest()


def append(
    head: Head, at: datetime, model: str, notes: Sequence[Any], actions: Sequence[Any]
) -> LedgerEntry:
    """Return the entry that follows ``head``. Notes and actions are made plain JSON first.

    Plain before hashing: what is hashed is then exactly what a reader gets back.
    """
    entry = LedgerEntry(
        sequence=head.sequence + 1,
        at=at,
        model=model,
        notes=tuple(msgspec.json.decode(to_json(note)) for note in notes),
        actions=tuple(msgspec.json.decode(to_json(action)) for action in actions),
        previous=head.hash,
    )
    return msgspec.structs.replace(entry, hash=digest(entry))


def verify(
    entries: Iterable[LedgerEntry], head: Head | None = None, *, start: Head = GENESIS
) -> Head:
    """Check a chain and return its head.

    Args:
        entries: The entries after ``start``, in order.
        head: What the state says the last entry is; a shorter or longer chain is refused.
        start: Where the chain begins, to check only a tail.

    Raises:
        IntegrityError: Names the first sequence number that doesn't hold.
    """
    at = start
    for entry in entries:
        expected = at.sequence + 1
        if entry.sequence != expected:
            raise IntegrityError(
                f"ledger broken at {expected}: found entry {entry.sequence} in its place"
            )
        if entry.previous != at.hash:
            raise IntegrityError(
                f"ledger broken at {expected}: it does not follow the entry before it"
            )
        if entry.hash != digest(entry):
            raise IntegrityError(
                f"ledger broken at {expected}: its content does not match its hash"
            )
        at = entry.head
    if head is not None and at != head:
        if at.sequence < head.sequence:
            raise IntegrityError(
                f"ledger broken at {at.sequence + 1}: entries {at.sequence + 1} to "
                f"{head.sequence} are missing"
            )
        broken = min(at.sequence, head.sequence + 1)
        raise IntegrityError(f"ledger broken at {broken}: the state does not know this entry")
    return at


def why(
    entries: Iterable[LedgerEntry], *, kind: str | None = None, mention: str | None = None
) -> list[str]:
    """Render what happened for a person, one line a note, oldest first.

    Notes that only say why something was held stay in the entry and are left out here.

    Args:
        entries: Any part of a ledger.
        kind: Only notes of this kind (``rollout``, ``run``, ``breaker``, ...).
        mention: Only notes that contain this word, such as ``v3``.
    """
    lines = []
    for entry in entries:
        for note in entry.notes:
            text = str(note.get("text", ""))
            if not note.get("change") or (kind is not None and note.get("kind") != kind):
                continue
            if mention is not None and not re.search(rf"\b{re.escape(mention)}\b", text):
                continue
            lines.append(f"{entry.sequence:>5}  {entry.at:%Y-%m-%d %H:%M:%S}  {text}")
    return lines
