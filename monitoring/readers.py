"""What others than the processor read of its last commit, each over a connection of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monitoring.log import connect
from monitoring.records import beside_each_other, end_to_end
from monitoring.state import baseline_of, outcome_of, translated
from monitoring.table import FloatArray


class Outbox:
    """The partials that wait for the aggregator. Used by one thread, not the processor's."""

    def __init__(self, path: Path) -> None:
        """Open the file that a ``State`` has made."""
        self._db = connect(path)

    def first(self, limit: int) -> list[tuple[int, bytes]]:
        """Return the oldest partials: number and body."""
        with translated():
            return self._db.execute(
                "SELECT seq, body FROM outbox ORDER BY seq LIMIT ?", (limit,)
            ).fetchall()

    def forget(self, upto: int) -> None:
        """Forget the partials that the aggregator has on its disk."""
        with translated():
            self._db.execute("DELETE FROM outbox WHERE seq <= ?", (upto,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class StateReader:
    """Reads the last commit, from any one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file that a ``State`` has made."""
        self._db = connect(path)

    def outcomes(
        self, version: str, since: float
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Return scores, labels and baseline of a version's measured rows since a moment.

        Scores are (n,), or (n, k) where a row has several numbers; so are labels, of targets. A
        simple model's predictions are as scores are; None: there are none. ``since`` is when a row
        arrived.
        """
        with translated():
            rows = self._db.execute(
                "SELECT body, rows, targets, baseline FROM outcomes WHERE version = ? "
                "AND last >= ? AND measured ORDER BY seq",
                (version, since),
            ).fetchall()
        if not rows:
            return np.empty(0), np.empty(0), None
        found = [(outcome_of(*row), baseline_of(beside, row[1])) for *row, beside in rows]
        scores, labels, arrivals = end_to_end([columns for columns, _ in found])
        baseline = beside_each_other([(columns[0], beside) for columns, beside in found])
        wanted = arrivals >= since
        return scores[wanted], labels[wanted], None if baseline is None else baseline[wanted]

    def labelled_rows(self, since: float, version: str | None) -> int:
        """Return how many rows got their label at or after ``since``."""
        with translated():
            found: int = self._db.execute(
                "SELECT coalesce(sum(rows), 0) FROM outcomes WHERE at >= ? AND NOT again "
                "AND (? IS NULL OR version = ?)",
                (since, version, version),
            ).fetchone()[0]
        return found

    def signals(self, version: str, limit: int) -> list[bytes]:
        """Return the newest signals about a version as JSON, oldest first."""
        with translated():
            rows = self._db.execute(
                "SELECT body FROM signals WHERE version = ? ORDER BY seq DESC LIMIT ?",
                (version, limit),
            ).fetchall()
        return [body for (body,) in reversed(rows)]

    def windows(self, stream: str, limit: int) -> list[bytes]:
        """Return what the newest windows of a stream said as JSON, oldest first."""
        with translated():
            rows = self._db.execute(
                "SELECT body FROM windows WHERE stream = ? ORDER BY number DESC LIMIT ?",
                (stream, limit),
            ).fetchall()
        return [body for (body,) in reversed(rows)]

    def close(self) -> None:
        """Close the file."""
        self._db.close()
