"""The durable log: what came in, in order, before anything is made of it.

One SQLite file in WAL mode with full synchronisation; one thread writes, and
whatever arrived while it was writing shares the next transaction. Its file is
not the state's file: the sink never waits for the processor's transaction. What
can't be stored fails by itself, not the others of its group, and everybody who
waits gets an answer.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from monitoring.damage import SCHEMA, Mark, Row, checksum, fill, first_of, is_sound, mend
from monitoring.records import Label, LabelsRecord, Record, decode, encode
from noria.errors import MonitoringError, Unavailable, traceback_tail
from noria.files import make_folder
from noria.labels import FEEDBACK
from noria.worker import Worker

_log = logging.getLogger(__name__)
_BATCH_BYTES: Final = 32 * 1024 * 1024
_BATCH_ROWS: Final = 50_000
_TRY_SECONDS: Final = 1.0
WRITE_PATIENCE: Final = 60.0
"""Seconds after which a write that does not return is taken for stuck."""
_PRIVATE: Final = 0o600
_LABEL: Final = (
    "INSERT INTO labels (key, received, corrected, judged) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET received = excluded.received, "
    "corrected = excluded.corrected, judged = excluded.judged "
    "WHERE coalesce(labels.judged, 0) > excluded.judged OR (coalesce(labels.judged, 0) = "
    "excluded.judged AND excluded.corrected > coalesce(labels.corrected, -9e18))"
)
"""A label of a key that is known changes nothing, unless it is a later correction, or feedback
where a judge's was known (``judged`` 1); no judge's changes feedback."""
_INSERT: Final = "INSERT INTO log (received, rows, body, sum) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Logged:
    """One record of the log. ``received`` is the wall clock in epoch seconds.

    Of a damaged record ``received`` is not known: it is 0.
    """

    offset: int
    received: float
    record: Record | None


@dataclass(slots=True)
class _Entry:
    records: Sequence[tuple[int, bytes]]
    labels: tuple[Label, ...]
    done: Future[int] = field(default_factory=Future)


def connect(path: Path) -> sqlite3.Connection:
    """Open a SQLite file, for its owner only, in WAL mode with full synchronisation.

    Raises:
        MonitoringError: the file can't be opened or is damaged.
    """
    try:
        # What SQLite puts beside it gets the same mode.
        if path.exists():
            with suppress(PermissionError):
                path.chmod(_PRIVATE)
        else:
            # Never one that is open: closing it would let go of SQLite's locks.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA busy_timeout=10000")
        connection.execute("PRAGMA journal_size_limit=67108864")
    except (sqlite3.Error, OSError) as error:
        raise MonitoringError(f"{path} can't be opened: {error}") from error
    return connection


def heals(error: BaseException) -> bool:
    """Whether what failed in SQLite may work later: the disk or a lock, not the values."""
    return isinstance(error, sqlite3.OperationalError | OSError)


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that a file is not what it wrote."""
    return type(error) is sqlite3.DatabaseError


class EventLog:
    """Appends in groups, reads in order, forgets what is processed."""

    def __init__(
        self,
        path: Path,
        now: Callable[[], float],
        *,
        processed: int | None = 0,
        max_pending_bytes: int = 256 * 1024 * 1024,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open (or make) the log, mend it if it is damaged, and start its writer.

        Args:
            path: the SQLite file.
            now: wall clock, epoch seconds.
            processed: the last offset that is processed; every later one must be there. None
                is what comes before the first that is there: ``begin`` says it then.
            elapsed: seconds since some moment; it never goes back.
            max_pending_bytes: what may wait for the disk; more is refused, not kept.

        Raises:
            MonitoringError: the files can't be opened, or not be mended.
        """
        make_folder(path.parent)
        self._now = now
        self._appended: Callable[[], None] = _nobody
        self.problem = ""
        self.damaged = False
        self._mark = Mark(path.with_suffix(".end"))
        known = self._mark.known
        mend(path, max(processed or 0, known or 0))
        self._writer = connect(path)
        self._reader = connect(path)
        self._reading = threading.Lock()
        with _translated("opened"):
            self._writer.executescript(SCHEMA)
            columns = self._writer.execute("PRAGMA table_info(log)").fetchall()
            if all(column[1] != "sum" for column in columns):
                self._writer.execute("ALTER TABLE log ADD COLUMN sum INTEGER")
            columns = self._writer.execute("PRAGMA table_info(labels)").fetchall()
            if all(column[1] != "corrected" for column in columns):
                self._writer.execute("ALTER TABLE labels ADD COLUMN corrected INTEGER")
            if all(column[1] != "judged" for column in columns):
                # What an earlier version logged has no source: all of it is feedback.
                self._writer.execute("ALTER TABLE labels ADD COLUMN judged INTEGER")
            self.begin = first_of(self._writer, known) if processed is None else processed
            self.end: int = fill(self._writer, known, self.begin, now())
        self._mark.put(self.end)
        self._room = threading.Condition()
        self._waiting: list[_Entry] = []
        self._pending_bytes = 0
        self._written = 0
        self._max_pending_bytes = max_pending_bytes
        self._closed = False
        self.worker = Worker("log", self._step, every=2 * _TRY_SECONDS, elapsed=elapsed)
        self.worker.start()

    def on_append(self, appended: Callable[[], None]) -> None:
        """Have ``appended`` called after every commit, by the writer's thread."""
        self._appended = appended

    def append(self, records: Sequence[tuple[int, bytes]]) -> Future[int]:
        """Queue encoded records (rows, body); the future's result comes after the commit.

        Raises:
            Unavailable: the disk is too far behind.
        """
        return self._queue(_Entry(records, ()))

    def append_labels(self, labels: Sequence[Label]) -> Future[int]:
        """Queue labels; the future's result is how many say something new.

        The first label of a key wins; of corrections the one with the latest time. Feedback wins
        over any other source.

        Raises:
            Unavailable: the disk is too far behind.
        """
        return self._queue(_Entry((), tuple(labels)))

    def read(self, after: int, limit: int) -> list[Logged]:
        """Return up to ``limit`` records with an offset above ``after``, in order.

        Large ones are fewer: what is made of them is committed at once.
        A record that can't be decoded comes as None.
        """
        found: list[Logged] = []
        size = held = 0
        with self._reading, _translated("read"):
            rows = self._reader.execute(
                "SELECT offset, received, rows, body, sum FROM log WHERE offset > ? "
                "ORDER BY offset LIMIT ?",
                (after, limit),
            )
            for row in rows:
                offset, received, _, body, _ = row
                record = _decoded(row)
                found.append(Logged(offset, received if is_sound(row) else 0.0, record))
                size += len(body)
                # Of a damaged record this column may be anything.
                held += 0 if record is None else row[2]
                if size > _BATCH_BYTES or held > _BATCH_ROWS:
                    break
            rows.close()
        return found

    def get(self, offset: int) -> Record | None:
        """Return one record, or None when it is gone."""
        with self._reading, _translated("read"):
            row = self._reader.execute(
                "SELECT offset, received, rows, body, sum FROM log WHERE offset = ?", (offset,)
            ).fetchone()
        return None if row is None else _decoded(row)

    def prune(self, below: int, labels_before: float) -> None:
        """Forget records with an offset under ``below`` and label keys older than a moment.

        Raises:
            Unavailable: the disk does not take it now.
        """
        done: Future[int] = self._queue(_Prune(below, labels_before))
        try:
            done.result(WRITE_PATIENCE)
        except TimeoutError as error:
            raise Unavailable("the monitor's log does not answer") from error

    def close(self) -> None:
        """Write what waits, and close."""
        with self._room:
            self._closed = True
            self._room.notify()
        ended = self.worker.stop(WRITE_PATIENCE)
        left = self._taken()
        if not ended:
            self._fail(left, Unavailable("the monitor is stopping"))
            return
        if left:
            self._write(left)
        self._writer.close()
        with self._reading:
            self._reader.close()
        self._mark.close()

    def _queue(self, entry: _Entry) -> Future[int]:
        size = sum(len(body) for _, body in entry.records) + 64 * len(entry.labels)
        # Whoever waits may give up; the entry is written all the same, and has its result.
        entry.done.set_running_or_notify_cancel()
        with self._room:
            if self._closed:
                raise Unavailable("the monitor is stopping")
            if self.worker.stuck(WRITE_PATIENCE):
                raise Unavailable("the monitor's disk does not answer", fix="send later")
            if self._pending_bytes + size > self._max_pending_bytes and self._waiting:
                raise Unavailable("the monitor's disk is too far behind", fix="send less, or later")
            self._pending_bytes += size
            self._waiting.append(entry)
            self._room.notify()
        return entry.done

    def _step(self) -> None:
        """Write what waits; while it can't write, it tries: clients may have given up sending."""
        group = self._taken()
        if group or self.problem:
            self._write(group or [_Trial()])

    def _taken(self) -> list[_Entry]:
        with self._room:
            if not self._waiting and not self._closed:
                self._room.wait(_TRY_SECONDS)
            group, self._waiting = self._waiting, []
            self._pending_bytes = 0
        return group

    def _write(self, group: list[_Entry]) -> None:
        results, error = self._commit(group)
        if error is None:
            # AUTOINCREMENT and one writer: offsets have no gaps.
            self.end += self._written
            self._mark.put(self.end)
            self.problem = ""
            try:
                # Before the answers: whoever is told "durable" finds the records with flush().
                self._appended()
            finally:
                for entry, result in zip(group, results, strict=True):
                    entry.done.set_result(result)
            return
        if heals(error) or is_damage(error):
            self.damaged = is_damage(error)
            self.problem = f"the monitor's log can't be written: {error}"
            self._fail(group, Unavailable(self.problem), error)
        elif len(group) > 1:
            # One of them can't be stored: each by itself, so that the others are.
            for entry in group:
                self._write([entry])
        else:
            _log.error("a record can't be stored: %s", traceback_tail(error))
            self._fail(group, MonitoringError(f"it can't be stored: {error}"), error)

    def _commit(self, group: list[_Entry]) -> tuple[list[int], Exception | None]:
        try:
            self._written = 0
            self._writer.execute("BEGIN IMMEDIATE")
            results = [self._write_entry(entry) for entry in group]
            self._writer.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            with suppress(sqlite3.Error):
                self._writer.rollback()
            return [], error
        return results, None

    @staticmethod
    def _fail(
        group: list[_Entry], failed: MonitoringError | Unavailable, cause: Exception | None = None
    ) -> None:
        failed.__cause__ = cause
        for entry in group:
            entry.done.set_exception(failed)

    def _write_entry(self, entry: _Entry) -> int:
        now = self._now()
        if isinstance(entry, _Prune):
            self._writer.execute("DELETE FROM log WHERE offset < ?", (entry.below,))
            self._writer.execute("DELETE FROM labels WHERE received < ?", (entry.labels_before,))
            return 0
        if isinstance(entry, _Trial):
            # A row that is deleted again takes a page of the write-ahead log all the same.
            self._writer.execute(_LABEL, ("trial", now, None, 0))
            self._writer.execute("DELETE FROM labels WHERE key = 'trial'")
            return 0
        self._writer.executemany(_INSERT, [_row(now, *record) for record in entry.records])
        self._written += len(entry.records)
        if not entry.labels:
            return len(entry.records)
        fresh = tuple(
            label
            for label in entry.labels
            if self._writer.execute(
                _LABEL,
                (
                    label.key,
                    now,
                    label.time if label.correct else None,
                    int(label.source != FEEDBACK),
                ),
            ).rowcount
        )
        if fresh:
            record = _row(now, len(fresh), encode(LabelsRecord(fresh)))
            self._writer.execute(_INSERT, record)
            self._written += 1
        return len(fresh)


def _nobody() -> None:
    """Nobody listens yet."""


class _Prune(_Entry):
    __slots__ = ("below", "labels_before")

    def __init__(self, below: int, labels_before: float) -> None:
        super().__init__((), ())
        self.below = below
        self.labels_before = labels_before


class _Trial(_Entry):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__((), ())


def _row(received: float, rows: int, body: bytes) -> tuple[float, int, bytes, int]:
    return received, rows, body, checksum(received, rows, body)


def _decoded(row: Row) -> Record | None:
    try:
        return decode(row[3]) if is_sound(row) else None
    except msgspec.MsgspecError:
        return None


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn SQLite's errors into ours: those that may pass, and those of a damaged file."""
    try:
        yield
    except sqlite3.Error as error:
        said = f"the monitor's log can't be {doing}: {error}"
        kind = Unavailable if heals(error) else MonitoringError
        raise kind(said) from error
