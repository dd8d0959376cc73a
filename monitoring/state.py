"""What the monitor has made of its log so far, in one SQLite file and one transaction.

Every row here is a function of a prefix of the log; ``MonitorState.offset`` says which.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from monitoring.core import MonitorState
from monitoring.damage import ailment
from monitoring.log import connect, heals, is_damage
from monitoring.records import (
    Label,
    Outcomes,
    Told,
    as_rows,
    decode_keys,
    key_hashes,
    of_target,
    scores_of,
)
from monitoring.sources import pack, unpack
from monitoring.table import FloatArray
from monitoring.tables import ADDED, CORE, SCHEMA, set_aside_database, unreadable
from noria.errors import MonitoringError, Unavailable

_MAX_ROWS_OF_KEY: Final = 100_000


class Pair(NamedTuple):
    """Requests with their responses that follow each other: ``rows`` of the record ``request``.

    ``request`` is the log's offset of a request or a block, ``first`` the row there; ``id`` is
    empty when it is a block. ``truth`` has the labels of rows of which some targets have theirs
    (float64, row by row, NaN for none yet), ``sources`` who said them (``monitoring.sources``),
    None when all of it is feedback, and ``told`` when they came (as the labels are, epoch seconds),
    None where nobody keeps that. ``baseline`` is a simple model's prediction, as wide; None: there
    is none.
    """

    seq: int
    id: str
    request: int
    version: str
    at: float
    rows: int
    prediction: bytes
    keys: bytes | None
    labelled: bytes | None
    first: int = 0
    truth: bytes | None = None
    sources: bytes | None = None
    told: bytes | None = None
    baseline: bytes | None = None


PAIRS: Final = (
    "SELECT seq, id, request, version, at, rows, prediction, keys, labelled, first, truth, "
    "sources, told, baseline FROM pairs"
)
"""Reads pairs, as ``Pair`` has them: a file of an earlier version has its columns in another order.
"""
_PUT_PAIR: Final = (
    "INSERT INTO pairs (seq, id, request, version, at, rows, prediction, keys, labelled, first, "
    "truth, sources, told, baseline) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Seen(NamedTuple):
    """Which events of a request id were seen: offsets in the log, and the pair they made.

    Its rows start at ``first`` of the pair's; they are ``rows``, or all when that is None.
    """

    request: int | None
    response: int | None
    pair: int | None
    first: int = 0
    rows: int | None = None


class Join(NamedTuple):
    """Rows of a pair that got their labels together: in ``outcome``, from the place ``first``."""

    pair: int
    outcome: int
    first: int
    rows: Sequence[int]


class State:
    """The processor's tables. One thread writes; readers take their own connection."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; one that is damaged is set aside.

        Raises:
            MonitoringError: the file can't be opened.
        """
        self._path = path
        if path.exists() and (problem := ailment(path) or unreadable(path)):
            set_aside_database(path, problem)
        self._db = connect(path)
        # Pairs are written many at a time; whoever reads or changes them has them written first.
        self._new_pairs: list[Pair] = []
        self._new_keys: list[tuple[int, int, int]] = []
        with translated():
            self._db.executescript(SCHEMA)
            for table, column, kind in ADDED:
                known = self._db.execute(f"PRAGMA table_info({table})").fetchall()
                if all(name != column for _, name, *_ in known):
                    self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        with translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._settle()
                self._db.execute("COMMIT")
            except BaseException:
                self._new_pairs.clear()
                self._new_keys.clear()
                if self._db.in_transaction:
                    self._db.rollback()
                raise

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was ever committed."""
        return self._db.execute("SELECT 1 FROM core").fetchone() is None

    def begin(self, core: MonitorState) -> None:
        """Write the first core."""
        with self.transaction():
            self.put_core(core)

    def core(self) -> MonitorState:
        """Return the core as of the last commit."""
        row = self._db.execute("SELECT body FROM core").fetchone()
        return MonitorState() if row is None else CORE.decode(row[0])

    def put_core(self, core: MonitorState) -> bytes:
        """Write the core and return what was written."""
        body = msgspec.msgpack.encode(core)
        self._db.execute("INSERT OR REPLACE INTO core VALUES (1, ?, ?)", (body, crc32(body)))
        return body

    def seen(self, identity: str) -> Seen | None:
        """Return what is known of a request id."""
        row = self._db.execute(
            "SELECT request, response, pair, first, rows FROM events WHERE id = ?", (identity,)
        ).fetchone()
        return None if row is None else Seen(*row)

    def seen_of(self, identities: Sequence[str]) -> dict[str, Seen]:
        """Return what is known of request ids; those never seen are left out."""
        rows = self._db.execute(
            "SELECT id, request, response, pair, first, rows FROM events "
            "WHERE id IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(identities).decode(),),
        )
        return {identity: Seen(*seen) for identity, *seen in rows}

    def put_seen(self, fresh: Mapping[str, tuple[Seen, float]]) -> None:
        """Write what is known of request ids: id to (what, when)."""
        self._db.executemany(
            "INSERT OR REPLACE INTO events (id, request, response, pair, first, rows, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(identity, *seen, at) for identity, (seen, at) in fresh.items()],
        )

    def put_pair(self, pair: Pair, hashes: Sequence[int]) -> None:
        """Write a pair, and its entity keys' hashes by row."""
        self._new_pairs.append(pair)
        self._new_keys += [(value, pair.seq, row) for row, value in enumerate(hashes)]

    def _settle(self) -> None:
        if not self._new_pairs:
            return
        self._db.executemany(_PUT_PAIR, self._new_pairs)
        # In the order of the index: neighbours share its pages.
        self._db.executemany("INSERT INTO keys VALUES (?, ?, ?)", sorted(self._new_keys))
        self._new_pairs.clear()
        self._new_keys.clear()

    def pair(self, seq: int) -> Pair | None:
        """Return one pair."""
        self._settle()
        row = self._db.execute(f"{PAIRS} WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else Pair(*row)

    def pairs_from(self, first: int) -> Iterator[Pair]:
        """Yield pairs with a sequence number of at least ``first``, in order."""
        self._settle()
        for row in self._db.execute(f"{PAIRS} WHERE seq >= ? ORDER BY seq", (first,)):
            yield Pair(*row)

    def put_truths(
        self,
        seq: int,
        labelled: bytes,
        truth: bytes | None,
        sources: bytes | None,
        told: bytes | None,
    ) -> None:
        """Write what is known of the labels of a pair's rows.

        Args:
            seq: The pair.
            labelled: Which rows have all of theirs, one byte each.
            truth: The labels, where rows have several targets.
            sources: Who said them; None when all of it is feedback.
            told: When they came; None where nobody keeps that.
        """
        self._settle()
        self._db.execute(
            "UPDATE pairs SET labelled = ?, truth = ?, sources = ?, told = ? WHERE seq = ?",
            (labelled, truth, sources, told, seq),
        )

    def rows_with_key(self, value: int) -> list[tuple[int, int]]:
        """Return (pair, row) of rows whose entity key has this hash, the newest ones first kept.

        A key that is in more rows than that is none: the others count as unlabelled in the end.
        """
        self._settle()
        found = self._db.execute(
            "SELECT pair, row FROM keys WHERE hash = ? ORDER BY pair DESC, row DESC LIMIT ?",
            (value, _MAX_ROWS_OF_KEY),
        ).fetchall()
        return found[::-1]

    def put_label(self, label: Label, at: float) -> bool:
        """Keep a label that waits for its prediction; whether none of its key did before."""
        known = self.label(label.key)
        if known is None or known.gives_way(label):
            self._db.execute(
                "INSERT OR REPLACE INTO labels (key, value, at, source) VALUES (?, ?, ?, ?)",
                (label.key, label.value, at, label.source),
            )
        return known is None

    def label(self, key: str) -> Told | None:
        """Return a waiting label."""
        row = self._db.execute("SELECT value, source FROM labels WHERE key = ?", (key,)).fetchone()
        return None if row is None else Told(*row)

    def labels_of_request(self, identity: str, target: int = 0) -> dict[int, Told]:
        """Return the waiting labels of a target that name rows of a request: row to value."""
        prefix = of_target(f"id:{identity}:", target)
        rows = self._db.execute(
            "SELECT key, value, source FROM labels WHERE key >= ? AND key < ?",
            (prefix, prefix[:-1] + ";"),
        )
        return {
            int(key[len(prefix) :]): Told(*told)
            for key, *told in rows
            if key[len(prefix) :].isdigit()
        }

    def drop_label(self, key: str) -> None:
        """Forget a label that found its prediction."""
        self._db.execute("DELETE FROM labels WHERE key = ?", (key,))

    def put_outcome(self, seq: int, found: Outcomes, at: float, *, measured: bool) -> None:
        """Write labelled rows of one version.

        Args:
            seq: The number that they are kept under.
            found: The rows.
            at: When they got their labels.
            measured: Whether the sources of their labels count in the performance.
        """
        rows, labels = found.arrivals.size, found.labels
        body = np.concatenate([found.scores.ravel(), labels.ravel(), found.arrivals]).tobytes()
        sources = pack(found.sources)
        last, targets = float(found.arrivals.max()), labels.size // rows
        self._db.execute(
            "INSERT INTO outcomes (seq, version, last, at, rows, body, targets, sources, measured, "
            "again, baseline) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                seq,
                found.version,
                last,
                at,
                rows,
                body,
                targets,
                sources,
                measured,
                found.again,
                None if found.baseline is None else found.baseline.tobytes(),
            ),
        )

    def put_joins(self, joins: Sequence[Join]) -> None:
        """Write which rows of pairs are where in an outcome."""
        self._db.executemany(
            "INSERT OR REPLACE INTO joins VALUES (?, ?, ?, ?)",
            [(j.pair, j.outcome, j.first, np.array(j.rows, np.int32).tobytes()) for j in joins],
        )

    def places(self, pair: int) -> dict[int, tuple[int, int]]:
        """Return where each labelled row of a pair is now: row to (outcome, place there)."""
        found: dict[int, tuple[int, int]] = {}
        for outcome, first, rows in self._db.execute(
            "SELECT outcome, first, rows FROM joins WHERE pair = ? ORDER BY outcome", (pair,)
        ):
            for place, row in enumerate(np.frombuffer(rows, np.int32).tolist(), first):
                found[row] = (outcome, place)
        return found

    def is_measured(self, outcome: int) -> bool | None:
        """Whether an outcome counts in the performance; None where it is not kept here."""
        row = self._db.execute("SELECT measured FROM outcomes WHERE seq = ?", (outcome,)).fetchone()
        return None if row is None else bool(row[0])

    def correct_outcome(self, seq: int, places: Mapping[int, Told]) -> tuple[str, int, bool] | None:
        """Change labels of an outcome, counted row by row: place to what it is now.

        Returns:
            Its version, how many targets a row has, and whether it counts in the performance; None
            when it is gone.
        """
        row = self._db.execute(
            "SELECT version, rows, body, targets, sources, measured FROM outcomes WHERE seq = ?",
            (seq,),
        ).fetchone()
        if row is None:
            return None
        scores, labels, arrivals = outcome_of(row[2], row[1], row[3])
        changed, sources = labels.flatten(), unpack(row[4], labels.size)
        for place, (value, source) in places.items():
            if 0 <= place < changed.size:
                changed[place], sources[place] = value, source
        body = np.concatenate([scores.ravel(), changed, arrivals]).tobytes()
        self._db.execute(
            "UPDATE outcomes SET body = ?, sources = ? WHERE seq = ?", (body, pack(sources), seq)
        )
        return row[0], row[3], bool(row[5])

    def put_origin(self, replica: int, life: str, partial: int, outcome: int) -> None:
        """Write which outcome came as which partial."""
        self._db.execute(
            "INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)", (replica, life, partial, outcome)
        )

    def origin(self, replica: int, life: str, partial: int) -> int | None:
        """Return the outcome that came as a partial."""
        row = self._db.execute(
            "SELECT outcome FROM origins WHERE replica = ? AND life = ? AND partial = ?",
            (replica, life, partial),
        ).fetchone()
        return None if row is None else row[0]

    def put_signal(self, seq: int, identity: str, version: str, body: bytes, keep: int) -> bool:
        """Write a signal, and forget all but the last ``keep``; False when it is there already."""
        fresh = self._db.execute(
            "INSERT OR IGNORE INTO signals VALUES (?, ?, ?, ?)", (identity, seq, version, body)
        ).rowcount
        self._db.execute("DELETE FROM signals WHERE seq <= ?", (seq - keep,))
        return bool(fresh)

    def put_window(self, stream: str, number: int, body: bytes, keep: int) -> None:
        """Write what a window said, and forget windows more than ``keep`` ago."""
        self._db.execute("INSERT OR REPLACE INTO windows VALUES (?, ?, ?)", (stream, number, body))
        self._db.execute(
            "DELETE FROM windows WHERE stream = ? AND number <= ?", (stream, number - keep)
        )

    def put_partial(self, seq: int, body: bytes) -> None:
        """Write what is to be sent to the aggregator."""
        self._db.execute("INSERT INTO outbox VALUES (?, ?)", (seq, body))

    def put_served(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Write rows, by their numbers, that wait for the table of what was served."""
        self._db.executemany("INSERT OR REPLACE INTO served VALUES (?, ?)", rows)

    def served(self) -> list[tuple[int, bytes]]:
        """Return the rows that wait for the table of what was served, by their numbers."""
        return self._db.execute("SELECT seq, body FROM served ORDER BY seq").fetchall()

    def drop_served(self, number: int) -> None:
        """Forget a row that waits for the table."""
        self._db.execute("DELETE FROM served WHERE seq = ?", (number,))

    def detector_states(self) -> dict[str, bytes]:
        """Return the states of the stateful detectors by name."""
        return dict(self._db.execute("SELECT name, state FROM detectors"))

    def put_detector_state(self, name: str, state: bytes) -> None:
        """Write a stateful detector's state."""
        self._db.execute("INSERT OR REPLACE INTO detectors VALUES (?, ?)", (name, state))

    def clear_detector_states(self) -> None:
        """Forget every detector's state: they start afresh."""
        self._db.execute("DELETE FROM detectors")

    def oldest_open_offsets(self) -> list[int]:
        """Return the log offsets of the oldest request and response without a partner."""
        row = self._db.execute(
            "SELECT min(request), min(response) FROM events WHERE pair IS NULL"
        ).fetchone()
        return [offset for offset in row if offset is not None]

    def oldest_answers(self, first_pair: int) -> list[int]:
        """Return that of their responses, where they came as events of their own."""
        self._settle()
        row = self._db.execute(
            "SELECT min(e.response) FROM pairs p JOIN events e ON e.id = p.id WHERE p.seq >= ?",
            (first_pair,),
        ).fetchone()
        return [offset for offset in row if offset is not None]

    def oldest_requests(self, first_pair: int) -> list[int]:
        """Return the smallest log offset of the requests of pairs from ``first_pair`` on."""
        self._settle()
        row = self._db.execute(
            "SELECT min(request) FROM pairs WHERE seq >= ?", (first_pair,)
        ).fetchone()
        return [offset for offset in row if offset is not None]

    def pairs_span(self) -> tuple[int, int]:
        """Return the numbers of the first and the last pair; 0 and 0 when there is none."""
        self._settle()
        first, last = self._db.execute("SELECT min(seq), max(seq) FROM pairs").fetchone()
        return first or 0, last or 0

    def expire(self, before: float, first_pair: int, rows_kept: int, core: MonitorState) -> None:
        """Forget what is older than ``before``, and the oldest beyond ``rows_kept`` rows.

        Pairs from ``first_pair`` on are in an open window and stay.
        """
        self._settle()
        db = self._db
        counts = core.counts
        counts.unpaired += db.execute(
            "DELETE FROM events WHERE at < ? AND pair IS NULL", (before,)
        ).rowcount
        db.execute("DELETE FROM events WHERE at < ? AND pair < ?", (before, first_pair))
        kept = db.execute("SELECT coalesce(sum(rows), 0) FROM pairs").fetchone()[0]
        doomed = []
        for seq, at, rows, labelled, keys in db.execute(
            "SELECT seq, at, rows, labelled, keys FROM pairs WHERE seq < ? ORDER BY seq",
            (first_pair,),
        ):
            if at >= before and kept <= rows_kept:
                break
            kept -= rows
            counts.unlabelled += rows - sum(labelled or b"")
            doomed.append((seq,))
            hashes = key_hashes(decode_keys(keys)) if keys else []
            db.executemany(
                "DELETE FROM keys WHERE hash = ? AND pair = ? AND row = ?",
                [(value, seq, row) for row, value in enumerate(hashes)],
            )
        db.executemany("DELETE FROM pairs WHERE seq = ?", doomed)
        db.executemany("DELETE FROM joins WHERE pair = ?", doomed)
        orphans = db.execute("DELETE FROM labels WHERE at < ?", (before,)).rowcount
        counts.orphan_labels += orphans
        core.waiting_labels -= orphans

    def expire_outcomes(self, rows_kept: int, first_needed: int, core: MonitorState) -> None:
        """Forget the oldest labelled rows beyond ``rows_kept``."""
        while core.outcome_rows > rows_kept:
            row = self._db.execute(
                "SELECT seq, rows FROM outcomes WHERE seq < ? ORDER BY seq LIMIT 1", (first_needed,)
            ).fetchone()
            if row is None:
                return
            self._db.execute("DELETE FROM outcomes WHERE seq = ?", (row[0],))
            self._db.execute("DELETE FROM origins WHERE outcome = ?", (row[0],))
            core.outcome_rows -= row[1]

    def outcomes_from(
        self, version: str, first: int
    ) -> Iterator[tuple[int, FloatArray, FloatArray, FloatArray, FloatArray | None]]:
        """Yield a version's measured rows, in order.

        Each is (sequence, scores, labels, arrivals, baseline).
        """
        for seq, rows, body, targets, baseline in self._db.execute(
            "SELECT seq, rows, body, targets, baseline FROM outcomes WHERE version = ? "
            "AND seq >= ? AND measured ORDER BY seq",
            (version, first),
        ):
            yield (seq, *outcome_of(body, rows, targets), baseline_of(baseline, rows))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def outcome_of(body: bytes, rows: int, targets: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return scores, (rows,) or (rows, k), labels, alike with targets, and arrivals, (rows,)."""
    found = np.frombuffer(body, np.float64)
    labelled = found.size - rows
    scores, labels, arrivals = np.split(found, [labelled - targets * rows, labelled])
    return as_rows(scores, rows), as_rows(labels, rows), arrivals


def baseline_of(body: bytes | None, rows: int) -> FloatArray | None:
    """Return a simple model's predictions of rows, as their scores are; None: there are none."""
    return None if body is None else scores_of(body, rows)


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's errors into ours, but for those of the values that it is given.

    Raises:
        Unavailable: the disk, or a lock: it may work later.
        MonitoringError: the file is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        said = f"the monitor's state can't be used: {error}"
        if heals(error):
            raise Unavailable(said) from error
        if is_damage(error):
            raise MonitoringError(
                said, fix="start the monitor again: it mends its files"
            ) from error
        raise
