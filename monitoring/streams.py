"""Open windows: rows in order, cut into tumbling windows of a fixed number of rows.

A stream's state says at which sequence number and row its open window starts,
so that the window can be filled again from what is stored.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from monitoring.core import StreamState


class Sliced(Protocol):
    """Rows with a sequence number, that can be cut."""

    @property
    def seq(self) -> int:
        """Sequence number of what the rows belong to."""
        ...

    @property
    def start(self) -> int:
        """The first row."""
        ...

    @property
    def stop(self) -> int:
        """The row after the last."""
        ...


T = TypeVar("T", bound="Sliced")


class Stream(Generic[T]):
    """The open window of one stream. The window it fills has the number ``number``."""

    def __init__(self, state: StreamState) -> None:
        """Start where ``state`` says; it is kept up to date."""
        self._state = state
        self._pieces: deque[T] = deque()
        self._rows = 0

    @property
    def number(self) -> int:
        """Number of the window that is being filled, from 0."""
        return self._state.number

    def first(self, following: int) -> int:
        """Return the first sequence number that is still needed; ``following`` comes next."""
        return self._state.first if self._state.rows else following

    def refill(self, piece: T) -> None:
        """Put stored rows back, in order; those before the open window are left out."""
        if not self._state.rows or piece.seq < self._state.first:
            return
        if piece.seq == self._state.first:
            piece = cut(piece, self._state.row, piece.stop)
        self._append(piece)

    def push(self, piece: T) -> None:
        """Add rows."""
        self._append(piece)
        self._note()

    def take(self, rows: int) -> list[T] | None:
        """Return the first ``rows`` rows and start the next window; None while it isn't full."""
        if self._rows < rows:
            return None
        taken: list[T] = []
        wanted = rows
        while wanted:
            piece = self._pieces.popleft()
            size = piece.stop - piece.start
            if size > wanted:
                middle = piece.start + wanted
                self._pieces.appendleft(cut(piece, middle, piece.stop))
                piece, size = cut(piece, piece.start, middle), wanted
            taken.append(piece)
            wanted -= size
        self._rows -= rows
        self._state.number += 1
        self._note()
        return taken

    def clear(self) -> None:
        """Throw the open window away; its number is used again."""
        self._pieces.clear()
        self._rows = 0
        self._note()

    def _append(self, piece: T) -> None:
        self._pieces.append(piece)
        self._rows += piece.stop - piece.start

    def _note(self) -> None:
        self._state.rows = self._rows
        if self._pieces:
            self._state.first, self._state.row = self._pieces[0].seq, self._pieces[0].start


def cut(piece: T, start: int, stop: int) -> T:
    """Return rows ``start`` to ``stop`` (exclusive) of the same thing."""
    return piece._replace(start=start, stop=stop)  # type: ignore[attr-defined,no-any-return]
