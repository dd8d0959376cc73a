"""The labelled rows of a model, in the order of their events, read once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from noria.errors import DataError
from noria.replay import all_rows
from noria.spec import ModelSpec
from noria.tasks.families import family
from noria.tasks.sources.rows import moments

if TYPE_CHECKING:
    import pandas as pd

FIRST_SHARE: Final = 0.2
"""The share of the rows that trains the first version, unless a start is named."""

FIRST_ROWS: Final = 500
"""Rows that the first training needs at least, with the label known."""

STREAMED_ROWS: Final = 100
"""Rows without which there is nothing to walk through."""

Millis = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """``n`` labelled rows with their features, oldest event first; ``start`` is the first streamed.

    ``event_ms`` and ``label_ms`` (n,) are when a row happened and when its label became known,
    milliseconds since 1970 UTC; ``digests`` (n,) uint64 has a hash of each row's content.
    """

    frame: pd.DataFrame
    event_ms: Millis
    label_ms: Millis
    digests: npt.NDArray[np.uint64]
    start: int

    def __len__(self) -> int:
        return len(self.event_ms)

    @property
    def streamed(self) -> int:
        """How many rows are walked through."""
        return len(self) - self.start

    def known(self, at_ms: int) -> npt.NDArray[np.bool_]:
        """Return which rows, (n,), had their label by a time."""
        return known_at(self.event_ms, self.label_ms, at_ms)

    def until(self, stop: int) -> History:
        """Return the rows before ``stop``."""
        part = slice(0, stop)
        return History(
            self.frame.iloc[part],
            self.event_ms[part],
            self.label_ms[part],
            self.digests[part],
            self.start,
        )

    def starting_at(self, start: int) -> History:
        """Return the same rows, streamed from another one on."""
        return History(self.frame, self.event_ms, self.label_ms, self.digests, start)

    def digest(self, rows: npt.NDArray[Any] | slice = slice(None)) -> str:
        """Return a sha256 over the content of some rows."""
        names = ",".join(f"{name}:{kind}" for name, kind in self.frame.dtypes.items())
        found = hashlib.sha256(names.encode())
        found.update(self.digests[rows].tobytes())
        return found.hexdigest()


def known_at(event_ms: Millis, label_ms: Millis, at_ms: int) -> npt.NDArray[np.bool_]:
    """Return which rows, (n,), had happened and had their label by a time."""
    return (label_ms <= at_ms) & (event_ms <= at_ms)


def times_of(spec: ModelSpec, frame: pd.DataFrame) -> tuple[Millis, Millis]:
    """Return when each row of a frame happened and when its label was known, (n,) each."""
    event = moments(frame, str(spec.data.event_time))
    known = moments(frame, spec.data.label_time) if spec.data.label_time else event
    return event, known


def read_history(
    spec: ModelSpec, base: Path, start: datetime | None = None, rows: Path | None = None
) -> History:
    """Read the rows, and choose where the stream begins.

    Args:
        spec: The model.
        base: The folder of model.yaml.
        start: First event time to stream; None: after the first fifth of the rows, and never
            before 500 labels are known, or as many as ``spec.data.validation.minRows`` asks for.
        rows: A file to read in place of the model's source; None: the source.

    Raises:
        DataError: They can't be read, have no event time, or are too few on either side.
    """
    if spec.data.event_time is None:
        raise DataError(
            "spec.data.eventTime: a backtest needs a time to follow",
            fix="name the column that says when a row happened",
        )
    tasks = family(spec.task.family)
    # Which of the rows a run learns from is the run's to say, not the reading's.
    everything = all_rows(spec, rows)
    frame = tasks.features(everything, base, tasks.ingest(everything, base, None))
    event, label = times_of(spec, frame)
    order = np.argsort(event, kind="stable")
    frame = frame.iloc[order].reset_index(drop=True)
    event, label = event[order], label[order]
    least = max(FIRST_ROWS, spec.data.validation.min_rows)
    first = _first(event, label, least) if start is None else _at(event, start)
    history = History(frame, event, label, _hashed(frame), first)
    if history.streamed < STREAMED_ROWS or not history.known(int(event[first])).any():
        raise DataError(
            f"{first} rows to train the first version on and {history.streamed} to walk through "
            "are too few",
            fix="give more rows, or another --start",
        )
    return history


def _first(event: Millis, label: Millis, least: int) -> int:
    """Return the first row after the first fifth by whose time enough labels are known."""
    enough = np.searchsorted(np.sort(label), event, side="right") >= least
    place = max(int(len(event) * FIRST_SHARE), int(enough.argmax()) if enough.any() else len(event))
    if place >= len(event):
        return len(event) - 1
    # Rows of one moment are not torn apart.
    return int(np.searchsorted(event, event[place], side="left"))


def _at(event: Millis, start: datetime) -> int:
    return min(int(np.searchsorted(event, start.timestamp() * 1000)), len(event) - 1)


def _hashed(frame: pd.DataFrame) -> npt.NDArray[np.uint64]:
    import pandas as pd

    return np.asarray(pd.util.hash_pandas_object(frame, index=False), np.uint64)
