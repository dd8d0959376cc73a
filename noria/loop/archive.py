"""A ledger as a file of its own, which can be checked without the store that it came from.

JSON lines: the first says whose ledger it is, its head and the anchors that were known
when it was written; each other line is an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from noria.errors import IntegrityError, InvalidInput
from noria.loop.anchor import Anchor, Check, Sign, message, verify_anchored
from noria.loop.ledger import Head, LedgerEntry
from noria.loop.values import from_json, to_json

T = TypeVar("T")

FORMAT: Final = "noria-ledger/1"
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024


class Heading(msgspec.Struct, frozen=True):
    """The first line of an export. ``signature`` is of the head, empty without a key."""

    format: str
    model: str
    head: Head
    anchors: tuple[Anchor, ...]
    signature: str = ""


def write(
    model: str,
    head: Head,
    entries: Iterable[LedgerEntry],
    anchors: Iterable[Anchor],
    sign: Sign | None = None,
) -> Iterator[bytes]:
    """Yield the lines of an export, each with its line end.

    Args:
        model: Whose ledger it is.
        head: Its last entry.
        entries: All of it, oldest first; what comes after ``head`` is left out.
        anchors: The heads that the registry keeps.
        sign: Signs the head.
    """
    signature = "" if sign is None else sign(message(model, head))
    yield to_json(Heading(FORMAT, model, head, tuple(anchors), signature)) + b"\n"
    for entry in entries:
        if entry.sequence <= head.sequence:
            yield to_json(entry) + b"\n"


def check(lines: Iterable[bytes], signed: Check | None = None) -> Heading:
    """Check an export by itself: the chain, its anchors and, with a key, the signature.

    Raises:
        InvalidInput: It is no export.
        IntegrityError: Names what does not hold.
    """
    rows = iter(lines)
    heading = _decoded(next(rows, b""), Heading, 1)
    if heading.format != FORMAT:
        raise InvalidInput(f"line 1: format {heading.format[:40]!r} is not {FORMAT!r}")
    if signed is not None and not (
        heading.signature and signed(message(heading.model, heading.head), heading.signature)
    ):
        raise IntegrityError(
            f"{heading.model}: the head is not signed by this key",
            fix="export it where the signing key is, or check with the right public key",
        )
    entries = (_decoded(row, LedgerEntry, number) for number, row in enumerate(rows, start=2))
    verify_anchored(_of_model(entries, heading.model), heading.head, heading.anchors)
    return heading


def _of_model(entries: Iterable[LedgerEntry], model: str) -> Iterator[LedgerEntry]:
    for entry in entries:
        if entry.model != model:
            raise IntegrityError(
                f"ledger broken at {entry.sequence}: it is of model {entry.model[:60]!r}"
            )
        yield entry


def _decoded(row: bytes, kind: type[T], number: int) -> T:
    if len(row) > _MAX_LINE_BYTES:
        raise InvalidInput(f"line {number}: longer than {_MAX_LINE_BYTES} bytes")
    try:
        return from_json(row, kind)
    except InvalidInput as error:
        raise InvalidInput(f"line {number}: {error.message}") from error
