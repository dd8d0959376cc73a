"""The ledger's anchor: its head, kept outside of it, where a rewrite does not reach.

A chain of hashes shows an edit only to whoever knows where the chain ended: a writer
who computes all hashes anew, and the head in the state with them, leaves no trace in
the store. So the head also goes to the registry, as a tag on the champion's version,
and into the log at each promotion. With a signing key it can't be made up there either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from noria.errors import IntegrityError, NoriaError
from noria.loop.ledger import GENESIS, Head, LedgerEntry, verify
from noria.loop.ports import Registry, Store
from noria.loop.state import Note, State
from noria.loop.turn import name

Sign = Callable[[bytes], str]
"""Signs a message; returns the signature as text without colons."""

Check = Callable[[bytes, str], bool]
"""Whether a signature of a message is by the expected key."""

_HASH_DIGITS: Final = 64
_log = logging.getLogger(__name__)


class Anchor(msgspec.Struct, frozen=True):
    """A head that the ledger once had. ``place`` says where that is kept, such as ``v3``."""

    place: str
    head: Head
    signature: str = ""

    @property
    def text(self) -> str:
        """The anchor as a tag's value: ``SEQUENCE:HASH`` or ``SEQUENCE:HASH:SIGNATURE``."""
        parts = (str(self.head.sequence), self.head.hash, self.signature)
        return ":".join(part for part in parts if part)

    def signed_by(self, check: Check, model: str) -> bool:
        """Whether the signature is there, and right."""
        return bool(self.signature) and check(message(model, self.head), self.signature)


def message(model: str, head: Head) -> bytes:
    """Return what is signed: a head can't be passed off as another model's."""
    return f"noria ledger\n{model}\n{head.sequence}\n{head.hash}\n".encode()


def parse(place: str, text: str) -> Anchor:
    """Read a tag's value.

    Raises:
        IntegrityError: It is no anchor.
    """
    sequence, _, rest = text.partition(":")
    digest, _, signature = rest.partition(":")
    if not (sequence.isascii() and sequence.isdigit() and len(digest) == _HASH_DIGITS):
        raise IntegrityError(
            f"the ledger's anchor on {place} can't be read: {text[:100]!r}",
            fix="it was edited: find out by whom",
        )
    return Anchor(place, Head(int(sequence), digest), signature)


def anchors(registry: Registry, model: str) -> tuple[Anchor, ...]:
    """Return the anchors on a model's versions, the oldest head first.

    Raises:
        IntegrityError: One can't be read.
        RegistryError, Unavailable: The registry can't be read.
    """
    found = [parse(name(v.version), v.anchor) for v in registry.versions(model) if v.anchor]
    return tuple(sorted(found, key=lambda anchor: anchor.head.sequence))


def verify_anchored(
    entries: Iterable[LedgerEntry],
    head: Head | None,
    known: Sequence[Anchor],
    *,
    champion: str | None = None,
) -> Head:
    """Check a whole chain, as ``verify``, and against the heads that are kept elsewhere.

    Args:
        entries: The ledger from its first entry.
        head: What the state says the last entry is.
        known: The anchors.
        champion: The registry's champion: where there is one, something was decided.

    Raises:
        IntegrityError: Names the first sequence number that doesn't hold, and by which anchor.
    """
    wanted: dict[int, list[Anchor]] = {}
    for anchor in known:
        wanted.setdefault(anchor.head.sequence, []).append(anchor)

    def compared() -> Iterable[LedgerEntry]:
        for entry in entries:
            for anchor in wanted.pop(entry.sequence, ()):
                if anchor.head.hash != entry.hash:
                    raise IntegrityError(
                        f"ledger broken at or before {entry.sequence}: the registry keeps another "
                        f"hash of this decision, on {anchor.place}"
                    )
            yield entry

    end = verify(compared(), head)
    for sequence, missing in sorted(wanted.items()):
        raise IntegrityError(
            f"ledger broken at {end.sequence + 1}: entries {end.sequence + 1} to {sequence} are "
            f"missing: the registry keeps the hash of decision {sequence}, on {missing[0].place}"
        )
    if end == GENESIS and champion is not None:
        raise IntegrityError(
            f"ledger broken at 1: it is empty, and the registry's champion is {name(champion)}"
        )
    return end


@dataclass(frozen=True, slots=True)
class Evidence:
    """A ledger and what is known of it elsewhere.

    ``entries`` are all of it, oldest first, to be read once. ``anchors`` is None where the
    registry could not be asked; ``champion`` is the version that the registry names.
    """

    entries: Iterable[LedgerEntry]
    head: Head
    anchors: tuple[Anchor, ...] | None = None
    champion: str | None = None

    def verify(self, check: Check | None = None, *, model: str = "") -> Head:
        """Check the chain, its anchors and, with a key, the newest anchor's signature.

        Raises:
            IntegrityError: Names what does not hold.
        """
        known = self.anchors or ()
        end = verify_anchored(self.entries, self.head, known, champion=self.champion)
        if check is not None and not (known and known[-1].signed_by(check, model)):
            where = f"the anchor on {known[-1].place}" if known else "no anchor"
            raise IntegrityError(
                f"{model}: {where} is signed by this key",
                fix="somebody else wrote it, or NORIA_LEDGER_KEY was not set where the loop runs",
            )
        return end


class Anchoring:
    """Keeps a model's head anchored while its loop turns, and sees when it no longer fits.

    The registry is asked when the head is another than the one anchored last.

    Args:
        model: The model's name.
        registry: Where anchors are kept.
        store: Where the ledger is.
        sign: Signs heads; None leaves them unsigned.
    """

    def __init__(
        self, model: str, registry: Registry, store: Store, sign: Sign | None = None
    ) -> None:
        self._model = model
        self._registry = registry
        self._store = store
        self._sign = sign
        self._anchored: tuple[str | None, Head] = (None, GENESIS)

    def problem(self, state: State) -> str:
        """Return what does not fit between the ledger and its newest anchor; empty when all does.

        Raises:
            RegistryError, Unavailable, StoreError: That can't be seen now.
        """
        if self._anchored[0] is not None and state.head == self._anchored[1]:
            return ""
        try:
            known = anchors(self._registry, self._model)
            if known:
                self._compare(known[-1])
        except IntegrityError as error:
            return error.message
        return ""

    def _compare(self, newest: Anchor) -> None:
        # Read after the anchor: another loop may have gone on since our caller read the state.
        stored = self._store.load(self._model)
        end = GENESIS if stored is None else stored.state.head
        after = max(newest.head.sequence - 1, 0)
        tail = tuple(
            e for e in self._store.entries(self._model, after) if e.sequence <= end.sequence
        )
        _follows(tail, newest)
        verify(tail, end, start=Head(after, tail[0].previous))

    def keep(self, state: State) -> Note | None:
        """Anchor the head on the champion's version, if it is not there.

        Returns what to tell a person: that a new champion carries it. The registry's
        trouble is logged, and it is tried again at the next turn.
        """
        champion, head = state.champion, state.head
        if champion is None or head == GENESIS or (champion, head) == self._anchored:
            return None
        signature = "" if self._sign is None else self._sign(message(self._model, head))
        anchor = Anchor(name(champion), head, signature)
        try:
            info = self._registry.version(self._model, champion)
            self._registry.anchor(self._model, champion, anchor.text)
        except NoriaError as error:
            _log.warning("%s: the ledger's head is not anchored: %s", self._model, error)
            return None
        self._anchored = (champion, head)
        if info is not None and info.anchor:
            return None
        text = f"the ledger's head {head.sequence}:{head.hash} is anchored on {name(champion)}"
        _log.info("%s: %s", self._model, text)
        facts = {"sequence": head.sequence, "hash": head.hash, "version": champion}
        return Note("ledger", text, facts, change=True)


def _follows(tail: Sequence[LedgerEntry], newest: Anchor) -> None:
    head = newest.head
    if not tail or tail[0].sequence != head.sequence:
        raise IntegrityError(
            f"ledger broken: decision {head.sequence} is missing, whose hash the registry keeps "
            f"on {newest.place}"
        )
    if tail[0].hash != head.hash:
        raise IntegrityError(
            f"ledger broken at or before {head.sequence}: the registry keeps another hash of this "
            f"decision, on {newest.place}"
        )
