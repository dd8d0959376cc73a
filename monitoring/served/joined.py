"""Rows as they get their labels: written down in the transaction that joins the two.

The row is taken from the log, which keeps what was asked until its label can no longer come.
From then on it stands for itself, and nothing that is forgotten later touches it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace

from monitoring.core import ClassName, MonitorState
from monitoring.log import EventLog
from monitoring.records import (
    BlockRecord,
    Dated,
    Record,
    RequestRecord,
    Requests,
    floats,
    len_of,
    matrix_of,
    scores_of,
)
from monitoring.served.keeping import ColumnType, Keeping
from monitoring.state import Pair, State
from monitoring.table import text_of
from noria.errors import InvalidInput
from noria.labels import FEEDBACK, counted
from noria.predictions import DictColumn, Values, Vectors
from noria.values import epoch_ms

Cell: TypeAlias = float | str | bool | tuple[float, ...] | None
_RECORDS: Final = 16
_NONE: Final = float("nan")
_TRUTHS: Final[Mapping[str, bool]] = {"true": True, "false": False, "1": True, "0": False}


class JoinedRow(msgspec.Struct, frozen=True, array_like=True):
    """A row with its label. Moments are epoch seconds.

    Of ``cells`` one of type time is epoch ms, one of type vector its numbers.
    ``label`` is a class's name, or the number; None while the classes are not known, and then
    ``value`` says which it is once they are.

    Of a row whose targets have names ``targets`` has the label of each, None for one that has not
    come, and no other field says what it is. ``names`` are theirs, none while they are not known.
    """

    request: str
    row: int
    version: str
    predicted: float
    labelled: float
    value: float
    label: ClassName | None
    scores: tuple[float, ...]
    cells: tuple[Cell, ...]
    source: str = FEEDBACK
    targets: tuple[Dated | None, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether it is known what its label, or each of its targets, is called."""
        return bool(self.names) if self.targets else self.label is not None

    def told(self, name: str) -> Dated | None:
        """Return the label of one of its named targets."""
        return self.targets[self.names.index(name)] if name in self.names else None


_decoder: Final = msgspec.msgpack.Decoder(JoinedRow)


def decode(body: bytes) -> JoinedRow:
    """Read a row that waits for the table."""
    return _decoder.decode(body)


def class_of(value: float, keeping: Keeping, classes: tuple[ClassName, ...]) -> ClassName | None:
    """Return what a label's value stands for; None when the classes are not known."""
    if not keeping.classification:
        return value
    place = round(value)
    if len(classes) == 2:
        return classes[1 if place else 0]
    return classes[place] if 0 <= place < len(classes) else None


def names_of(core: MonitorState, keeping: Keeping, width: int) -> tuple[str, ...] | None:
    """Return what the columns of a row's targets are called, as the champion names or counts them.

    Of a row with the label of the one target, and while there is no champion, nothing. None where
    it names other targets than these.
    """
    if is_one(keeping, width) or not core.champion:
        return ()
    names = core.targets or counted(width)
    return names if len(names) == width else None


def is_one(keeping: Keeping, width: int) -> bool:
    """Whether a row of so many targets has its label in the column of the one target."""
    return width == 1 and keeping.target is not None


class Joined:
    """Takes rows that got a label, or another one. Used by the processor's thread alone."""

    def __init__(self, keeping: Keeping, core: MonitorState, state: State, log: EventLog) -> None:
        self._keeping = keeping
        self._core = core
        self._state = state
        self._log = log
        self._record = lru_cache(_RECORDS)(self._log.get)
        self._first = self._last = 0
        self._needed: int | None = None

    def take(self, pair: Pair, rows: Mapping[int, Sequence[Dated | None]], at: float) -> None:
        """Write down rows of a pair as they are known at ``at``: row to each target's label."""
        record = self._record(pair.request)
        requests = None if record is None else _requests_of(record)
        width = max(map(len, rows.values()), default=0)
        names = self._names(width)
        if requests is None or pair.first + pair.rows > requests.rows or names is None:
            # It came before rows were kept, and the log has forgotten it; or it has no columns.
            self._core.counts.unkept += len(rows)
            return
        scores = scores_of(pair.prediction, pair.rows).reshape(pair.rows, -1)
        sample = _samples(requests)
        fresh: list[tuple[int, bytes]] = []
        columns = [_column(requests, name, kind) for name, kind in self._keeping.columns.items()]
        event = self._keeping.event_time
        timed = None if event is None else list(self._keeping.columns).index(event)
        one = is_one(self._keeping, width)
        for row, known in rows.items():
            request, place = sample(pair.first + row)
            if not self._keeping.takes(request):
                continue
            cells = tuple(column[pair.first + row] for column in columns)
            if timed is not None and cells[timed] is None:
                self._core.counts.unkept += 1
                continue
            told = known[0] if one else None
            joined = JoinedRow(
                request,
                place,
                pair.version,
                pair.at,
                at,
                _NONE if told is None else told.value,
                None if told is None else self._class(told.value),
                tuple(scores[row].tolist()),
                cells,
                FEEDBACK if told is None else told.source,
                () if one else tuple(known),
                names,
            )
            fresh.append((self._core.next_served, msgspec.msgpack.encode(joined)))
            self._core.next_served += 1
        self._state.put_served(fresh)

    def name(self) -> None:
        """Say of the rows that wait for the names of their targets which they are.

        A row that there are no columns for is not kept, and counted.
        """
        for number, body in self._state.served():
            row = decode(body)
            if not row.targets or row.names:
                continue
            names = self._names(len(row.targets))
            if names is None:
                self._state.drop_served(number)
                self._core.counts.unkept += 1
            else:
                self._state.put_served(
                    [(number, msgspec.msgpack.encode(replace(row, names=names)))]
                )

    def _class(self, value: float) -> ClassName | None:
        return class_of(value, self._keeping, self._core.classes)

    def _names(self, width: int) -> tuple[str, ...] | None:
        """Return what the targets of a row are called; None where there are no columns for them."""
        names = names_of(self._core, self._keeping, width)
        return None if names is None or self._keeping.refusal(names) else names

    def oldest_needed(self) -> list[int]:
        """Return the smallest log offset of a row that may still get its label.

        Of pairs that are known only those that came since are looked at, until some are gone.
        """
        first, last = self._state.pairs_span()
        if first != self._first:
            self._needed, self._last = None, first - 1
        fresh = self._state.oldest_requests(self._last + 1)
        known = [] if self._needed is None else [self._needed]
        self._first, self._last = first, last
        self._needed = min(known + fresh, default=None)
        return [] if self._needed is None else [self._needed]


def _requests_of(record: Record) -> Requests | None:
    return record if isinstance(record, RequestRecord | BlockRecord) else None


def _samples(requests: Requests) -> Callable[[int], tuple[str, int]]:
    """Return what tells of a row of a record the request's id, and the row's place in that."""
    if isinstance(requests, RequestRecord):
        identity = requests.id
        return lambda row: (identity, row)
    ids = requests.ids
    ends = np.cumsum(np.frombuffer(requests.counts, np.int32))

    def sample(row: int) -> tuple[str, int]:
        owner = int(np.searchsorted(ends, row, side="right"))
        return ids[owner], row - (int(ends[owner - 1]) if owner else 0)

    return sample


class _Missing:
    def __getitem__(self, row: int) -> None:
        """Return that nothing is known of any row."""


def _column(requests: Requests, name: str, kind: ColumnType) -> _Column | _Vector | _Missing:
    if kind == "vector":
        vectors = requests.vectors.get(name)
        return _Missing() if vectors is None else _Vector(vectors)
    values = requests.columns.get(name)
    return _Missing() if values is None else _Column(values, kind)


class _Vector:
    """A column of vectors, read a row at a time."""

    def __init__(self, values: Vectors) -> None:
        self._matrix = matrix_of(values)

    def __getitem__(self, row: int) -> tuple[float, ...] | None:
        if row >= self._matrix.shape[0] or np.isnan(self._matrix[row]).any():
            return None
        return tuple(self._matrix[row].tolist())


class _Column:
    """A column of a record, read a row at a time: a label names few of a block's rows."""

    def __init__(self, values: Values, kind: ColumnType) -> None:
        self._kind = kind
        self._rows = len_of(values)
        self._texts: tuple[str, ...] | None = None
        if isinstance(values, DictColumn):
            self._texts, self._codes = values.values, np.frombuffer(values.codes, np.int32)
        else:
            self._numbers = floats(values)

    def __getitem__(self, row: int) -> Cell:
        if row >= self._rows:
            return None
        found: float | str
        if self._texts is None:
            found = float(self._numbers[row])
            if found != found:
                return None
        else:
            code = int(self._codes[row])
            if code < 0:
                return None
            found = self._texts[code]
        return _as(self._kind, found)


def _as(kind: ColumnType, value: float | str) -> Cell:
    """Return a value by the type of its column; None when it is not of that type."""
    match kind:
        case "number":
            return value if isinstance(value, float) else None
        case "boolean":
            return _TRUTHS.get(value) if isinstance(value, str) else bool(value)
        case "time":
            return _moment(value)
        case _:
            return value if isinstance(value, str) else text_of(value)


def _moment(value: float | str) -> float | None:
    try:
        digits = isinstance(value, str) and value.lstrip("-").isdigit()
        return float(value) if digits or isinstance(value, float) else epoch_ms(value)
    except (InvalidInput, ValueError):
        return None
