"""Moves labelled rows from the state to the table, each exactly once, whenever it is killed.

The processor numbers the rows in the transaction that joins them with their labels. Here they are
taken in that order, written day by day, and forgotten only when every day of them is on the disk.
What a kill cuts off is taken again; the rows that a day has already are known by their numbers.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec.structs import replace

from monitoring.core import ClassName
from monitoring.log import connect
from monitoring.served.joined import JoinedRow, class_of, decode
from monitoring.served.keeping import Keeping
from monitoring.state import translated
from noria.errors import NoriaError
from noria.served import rows as names
from noria.served.merging import merge, parquet
from noria.served.table import FOLDER, ServedTable
from noria.worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)
_ROWS: Final = 20_000
_EVERY_SECONDS: Final = 5.0
PATIENCE: Final = 300.0
"""Seconds after which a turn is taken for stuck."""
_UNNAMED: Final = "labelled rows wait to be kept: the champion's reference names no classes yet"
_NAMELESS: Final = "labelled rows wait to be kept: no champion has named their targets yet"
Numbered: TypeAlias = tuple[int, JoinedRow]


class Writer:
    """Writes what waits every few seconds, and at once when it is asked to.

    Args:
        home: The monitor's folder; its state has been made.
        keeping: What is kept.
        classes: Returns the champion's classes, empty while they are not known.
        now: Returns the time by the monitor's clock, epoch seconds.
    """

    def __init__(
        self,
        home: Path,
        keeping: Keeping,
        classes: Callable[[], tuple[ClassName, ...]],
        now: Callable[[], float],
    ) -> None:
        self.table = ServedTable(home / FOLDER)
        self._db = connect(home / "state.db")
        self._keeping = keeping
        self._classes = classes
        self._now = now
        self._turn = threading.Lock()
        self._woken = threading.Event()
        self._waits = ""
        self.problem = ""
        self.worker = Worker("served", self._step, every=_EVERY_SECONDS)

    def start(self) -> None:
        """Start to write."""
        self.worker.start()

    def stop(self) -> None:
        """Write what waits, and stop; what can't be written now stays for the next start."""
        self._woken.set()
        if not self.worker.stop(PATIENCE):
            return
        try:
            self.write()
        except NoriaError as error:
            _log.warning("rows that were served wait to be written: %s", error)
        self._db.close()

    def write(self) -> int:
        """Write every row that waits, and delete the days that are past; return how many rows.

        Raises:
            NoriaError: The disk does not take it; what is not written waits on.
        """
        count = 0
        with self._turn:
            while taken := self._waiting():
                self._put(taken)
                with translated():
                    self._db.execute("DELETE FROM served WHERE seq <= ?", (taken[-1][0],))
                count += len(taken)
            self.table.expire(self._kept_from())
        self.problem = self._waits
        return count

    def _step(self) -> None:
        if self._woken.wait(_EVERY_SECONDS):
            return
        try:
            self.write()
        except NoriaError as error:
            if not self.problem:
                _log.error("rows that were served can't be written: %s", error)
            self.problem = str(error)

    def _waiting(self) -> list[Numbered]:
        """Return the oldest rows that wait, up to the first whose label has no name yet.

        Who names the targets of a row is the processor, in the transaction that brings the names.
        """
        with translated():
            found = self._db.execute(
                "SELECT seq, body FROM served ORDER BY seq LIMIT ?", (_ROWS,)
            ).fetchall()
        taken: list[Numbered] = []
        self._waits = ""
        for number, body in found:
            row = decode(body)
            if not row.targets and row.label is None:
                row = replace(row, label=class_of(row.value, self._keeping, self._classes()))
            if not row.is_named:
                self._waits = _NAMELESS if row.targets else _UNNAMED
                break
            taken.append((number, row))
        return taken

    def _put(self, taken: Sequence[Numbered]) -> None:
        days: defaultdict[str, list[Numbered]] = defaultdict(list)
        for number, row in taken:
            days[self._day(row)].append((number, row))
        kept_from = self._kept_from()
        for day, found in sorted(days.items()):
            if day < kept_from:
                continue
            done = self.table.last_of(day)
            fresh = [one for one in found if one[0] > done]
            if fresh:
                content = parquet(_table(fresh, self._keeping))
                self.table.write(day, fresh[0][0], fresh[-1][0], content)
                merge(self.table, day)

    def _day(self, row: JoinedRow) -> str:
        at = row.predicted
        if self._keeping.event_time is not None:
            cell = row.cells[list(self._keeping.columns).index(self._keeping.event_time)]
            at = cell / 1000.0 if isinstance(cell, int | float) else 0.0
        return _day(at)

    def _kept_from(self) -> str:
        """Return the first day that is not past its time; empty while no time is known."""
        now = self._now()
        return _day(now - self._keeping.retention) if now else ""


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _day(seconds: float) -> str:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).date().isoformat()
    except OverflowError:
        return ""  # before the first year


def _table(taken: Sequence[Numbered], keeping: Keeping) -> pa.Table:
    """Return rows as the table has them: what Noria says of each, then the model's own columns."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    types = {
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "text": pa.string(),
        "time": moment,
        "vector": pa.list_(pa.float32()),
    }
    rows = [row for _, row in taken]
    columns: dict[str, pa.Array] = {
        names.REQUEST: pa.array([row.request for row in rows], pa.string()),
        names.ROW: pa.array([row.row for row in rows], pa.int32()),
        names.NUMBER: pa.array([number for number, _ in taken], pa.int64()),
        names.VERSION: pa.array([row.version for row in rows], pa.string()),
        names.PREDICTED: pa.array([_micros(row.predicted) for row in rows], moment),
        names.LABELLED: pa.array([_micros(row.labelled) for row in rows], moment),
        names.SOURCE: pa.array([_sources(row) for row in rows], pa.string()),
        names.PREDICTION: pa.array([row.scores for row in rows], pa.list_(pa.float64())),
    }
    targets = tuple(dict.fromkeys(name for row in rows for name in row.names))
    if targets:
        columns[names.TARGETS] = pa.array(
            [row.names or None for row in rows], pa.list_(pa.string())
        )
    for name in targets:
        told = [row.told(name) for row in rows]
        since = [None if one is None or one.at is None else _micros(one.at) for one in told]
        columns[names.of_target(names.LABELLED, name)] = pa.array(since, moment)
        by = [None if one is None else one.source for one in told]
        columns[names.of_target(names.SOURCE, name)] = pa.array(by, pa.string())
    for place, (name, kind) in enumerate(keeping.columns.items()):
        cells: list[Any] = [row.cells[place] for row in rows]
        if kind == "time":
            cells = [None if cell is None else round(float(cell) * 1000) for cell in cells]
        columns[name] = pa.array(cells, types[kind])
    only = keeping.target
    if only is not None and not all(row.names for row in rows):
        columns[only] = _labels([row.label for row in rows])
    for name in targets:
        # The champion before this one may have had one target, of the same name.
        labels = [_value(row, name) if row.names or name != only else row.label for row in rows]
        columns[name] = pa.array(labels, pa.float64())
    return pa.table(columns)


def _sources(row: JoinedRow) -> str:
    """Return who labelled a row: of several targets every source, with spaces between."""
    if not row.targets:
        return row.source
    return " ".join(sorted({one.source for one in row.targets if one is not None}))


def _value(row: JoinedRow, name: str) -> float | None:
    told = row.told(name)
    return None if told is None else told.value


def _labels(labels: list[Any]) -> pa.Array:
    import pyarrow as pa

    kinds = {type(label) for label in labels if label is not None}
    if len(kinds) == 1:
        return pa.array(labels)
    # Classes of several types can't be learned together: their texts tell what they were.
    return pa.array([str(label) for label in labels], pa.string())


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
