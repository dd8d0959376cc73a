"""The ledger as the pages show it: lines, pages, and whether the chain of hashes holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from noria.errors import IntegrityError
from noria.loop.ledger import Head, LedgerEntry, verify

PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the ledger. ``change``: something happened; else it says why not."""

    sequence: int
    at: datetime
    kind: str
    text: str
    change: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines a reader asks for. Empty: any."""

    kind: str = ""
    mention: str = ""
    holds: bool = False

    def fits(self, line: Line) -> bool:
        """Whether a line is asked for; ``mention`` is a whole word, as for ``noria why``."""
        if not (line.change or self.holds) or (self.kind and line.kind != self.kind):
            return False
        word = rf"(?<!\w){re.escape(self.mention)}(?!\w)"
        return not self.mention or re.search(word, line.text, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines, newest first; ``number`` of ``count`` pages, from 1."""

    lines: Sequence[Line]
    number: int
    count: int


@dataclass(frozen=True, slots=True)
class Chain:
    """What a check of the whole chain found. ``problem`` is empty when it holds."""

    decisions: int
    head: str
    problem: str = ""


def lines(entries: Iterable[LedgerEntry]) -> list[Line]:
    """Return every note of every entry, oldest first."""
    return [
        Line(
            entry.sequence,
            entry.at,
            str(note.get("kind", "")),
            str(note.get("text", "")),
            bool(note.get("change")),
        )
        for entry in entries
        for note in entry.notes
    ]


def page_of(found: Sequence[Line], number: int, size: int = PAGE) -> Page:
    """Cut one page; a number beyond the ends is the nearest page."""
    count = max(1, -(-len(found) // size))
    number = min(max(1, number), count)
    newest = found[::-1]
    return Page(newest[(number - 1) * size : number * size], number, count)


def check_chain(entries: Iterable[LedgerEntry], head: Head) -> Chain:
    """Check the whole chain against the state, as ``noria ledger verify``."""
    try:
        end = verify(entries, head)
    except IntegrityError as error:
        return Chain(head.sequence, head.hash, error.message)
    return Chain(end.sequence, end.hash)
