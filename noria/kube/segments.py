"""Older parts of a ledger, in immutable ConfigMaps.

A segment is made before the write that takes its entries out of the tail. A writer
that dies in between leaves a segment that nothing names, and the next writer makes
the same one again: only entries that are in the stored tail go into it, and where it
ends follows from them alone, so two writers can't disagree about its content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Final

from noria.errors import Conflict, StoreError
from noria.kube.objects import Objects, config_map, lines, parsed, segment_name
from noria.kube.record import Record
from noria.loop.ledger import LedgerEntry
from noria.loop.values import from_json

SEGMENT_BYTES: Final = 128 * 1024
"""The tail may grow to this before a segment is cut: each write sends the tail again."""


class Segments:
    """Cuts segments off the tail, and reads them."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def cut(self, model: str, record: Record) -> Record:
        """Move old entries into segments until the tail is small; return the shorter record.

        Raises:
            StoreError: A segment of the name is there with other entries.
        """
        while sum(len(line.encode()) + 1 for line in record.tail) > SEGMENT_BYTES:
            moved = _first_lines(record.tail)
            first = record.archived + 1
            self._make(model, segment_name(model, first), moved)
            record = replace(
                record,
                tail=record.tail[len(moved) :],
                archived=record.archived + len(moved),
                segments=(*record.segments, first),
            )
        return record

    def entries(self, model: str, record: Record, after: int) -> Iterator[LedgerEntry]:
        """Yield the entries above ``after`` that the record has in segments, in order.

        Raises:
            StoreError: A segment is missing or can't be read.
        """
        for first, following in pairwise((*record.segments, record.archived + 1)):
            end = following - 1
            if end <= after:
                continue
            name = segment_name(model, first)
            held = self._lines(model, name)
            if len(held) != end - first + 1:
                raise StoreError(f"ConfigMap {name} must hold the ledger's {first} to {end}")
            for line in held[max(0, after - first + 1) :]:
                yield parsed(name, line, _entry)

    def _make(self, model: str, name: str, moved: tuple[str, ...]) -> None:
        body = config_map(model, name, {"ledger": "\n".join(moved)})
        body["immutable"] = True
        try:
            self._objects.create(model, body)
        except Conflict as error:
            if self._lines(model, name) != moved:
                raise StoreError(
                    f"ConfigMap {self._objects.namespace}/{name} holds other entries than the "
                    f"ledger of {model!r} has there",
                    fix="keep a copy of it and delete it",
                ) from error

    def _lines(self, model: str, name: str) -> tuple[str, ...]:
        found = self._objects.get(model, name)
        if found is None:
            raise StoreError(
                f"ConfigMap {self._objects.namespace}/{name} is gone, and with it a part of the "
                f"ledger of {model!r}",
                fix="restore it from a backup",
            )
        return lines(found, "ledger")


def _entry(line: str) -> LedgerEntry:
    return from_json(line, LedgerEntry)


def _first_lines(tail: tuple[str, ...]) -> tuple[str, ...]:
    """Return as many lines as fit into a segment; one when it alone is larger."""
    size = 0
    for count, line in enumerate(tail):
        size += len(line.encode()) + 1
        if size > SEGMENT_BYTES:
            return tail[: max(1, count)]
    return tail
