"""Keeps Feast's online store in step with the sources, never ahead of what was known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from noria.errors import DataError
from noria.tasks.sources.asof import KNOWN, known_log
from noria.tasks.sources.feast_repository import Repository, View, feast_errors, open_repository
from noria.tasks.sources.feast_values import as_declared

_EXACT: Final = 1 << 53
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class OnlineSync:
    """Copies what has become known from the sources into the online store, in time order.

    Holds the parsed sources in memory, so that a step of a replay costs only its own rows; what
    is added to them later takes a new sync, which :attr:`outdated` asks for. One writer per
    online store; readers may go on.

    Raises:
        DataError: The service or its sources are refused.
        Unavailable: The repository has not been applied, or the store can't be written.
    """

    def __init__(self, base: Path, repository: str, service: str) -> None:
        self._repository = open_repository(repository, base)
        self._views = [
            (view, _Log(view, self._repository)) for view in self._repository.views(service)
        ]

    @property
    def outdated(self) -> bool:
        """Whether a source on this machine is not the file that was read; costs a stat each.

        A source that is gone at the moment is not outdated: it may be being replaced.
        """
        return any(log.outdated for _, log in self._views)

    def materialise(self, until: datetime) -> int:
        """Make the online store hold what counted at ``until``, whatever it held before.

        Keys of which nothing was known by then become missing. Returns the rows written.
        """
        return sum(self._write(view, log.state(until)) for view, log in self._views)

    def sync(self, since: datetime, until: datetime) -> int:
        """Write what became known in (since, until], and so counts at ``until``.

        Right only for a store that holds the state at ``since``: after :meth:`materialise` or a
        sync up to there. Returns the rows written.
        """
        return sum(self._write(view, log.changes(since, until)) for view, log in self._views)

    def _write(self, view: View, rows: pd.DataFrame) -> int:
        with feast_errors(f"the feature view {view.name!r} can't be written online"):
            for part in _exact(rows, list(view.keys)):
                self._repository.store.provider.ingest_df(view.definition, part)
        return len(rows)


class _Log:
    """When each row of a view's source began to count."""

    def __init__(self, view: View, repository: Repository) -> None:
        if not view.keys:
            raise DataError(f"the feature view {view.name!r} has no entity to look it up by")
        with feast_errors(f"the source of the feature view {view.name!r} can't be read"):
            from noria.tasks.sources.feast_offline import local_source, read_source

            self._path = local_source(view.definition.batch_source, repository.root)
            # Before the reading: rows that are added meanwhile are a change.
            self._stamp = _stamp(self._path)
            source = read_source(view.definition.batch_source, repository.root)
            source = as_declared(source, {**view.keys, **view.fields})
            log = known_log(source, list(view.keys), view.event, view.created)
        self._keys = list(view.keys)
        self._known = _microseconds(log[KNOWN])
        instants = [view.event, *([view.created] if view.created else [])]
        columns = dict.fromkeys([*view.keys, *view.fields, *instants])
        self._columns, self._instants = list(columns), instants
        # Feast takes instants without a zone as UTC, and is much faster at it.
        self._rows = log.assign(**{column: _naive(log[column]) for column in instants})[
            self._columns
        ]
        self._every_key = self._rows[self._keys].drop_duplicates(ignore_index=True)

    @property
    def outdated(self) -> bool:
        now = _stamp(self._path)
        return bool(now) and now != self._stamp

    def changes(self, since: datetime, until: datetime) -> pd.DataFrame:
        first, last = (
            int(np.searchsorted(self._known, _epoch(instant), side="right"))
            for instant in (since, until)
        )
        rows = self._rows.iloc[first:last]
        # Rows are written in this order and later ones replace earlier ones, so a step of a
        # replay can spare the search for repeated keys; a long span has more rows than keys.
        few = len(rows) <= len(self._every_key)
        return rows if few else rows.drop_duplicates(self._keys, keep="last")

    def state(self, until: datetime) -> pd.DataFrame:
        last = int(np.searchsorted(self._known, _epoch(until), side="right"))
        known = self._rows.iloc[:last].drop_duplicates(self._keys, keep="last")
        state = self._every_key.merge(known, on=self._keys, how="left")
        at = pd.Timestamp(_epoch(until), unit="us")
        return state.assign(**{name: state[name].fillna(at) for name in self._instants})


def _exact(rows: pd.DataFrame, keys: list[str]) -> list[pd.DataFrame]:
    """Cut rows so that no column has whole numbers beyond 2^53 beside missing ones.

    Feast takes integers with a gap through float64, which would make others of them.
    """
    if rows.empty:
        return []
    large = [
        name
        for name, kind in rows.dtypes.items()
        if isinstance(kind, pd.api.extensions.ExtensionDtype)
        and kind.kind in "iu"
        and rows[name].hasnans
        and (rows[name].abs() > _EXACT).any()
    ]
    if not large:
        return [rows]
    # Each part is written by itself, so that of a key only the last row may be left.
    last = rows.drop_duplicates(keys, keep="last")
    gaps = last[large].isna().apply(tuple, axis=1)
    return [part for _, part in last.groupby(gaps, sort=False)]


def _stamp(path: Path | None) -> tuple[tuple[str, int, int, int], ...]:
    """Return what changes when the file, or a file in the folder, is written or replaced."""
    if path is None:
        return ()
    found = []
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        try:
            seen = file.stat()
        except FileNotFoundError:
            continue
        found.append((str(file), seen.st_ino, seen.st_mtime_ns, seen.st_size))
    return tuple(found)


def _naive(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, utc=True).dt.tz_convert(None).astype("datetime64[us]")


def _microseconds(column: pd.Series) -> np.ndarray:
    return column.astype("datetime64[us, UTC]").astype("int64").to_numpy()


def _epoch(instant: datetime) -> int:
    if instant.tzinfo is None:
        raise DataError(f"{instant.isoformat()} has no time zone", fix="give an aware datetime")
    return (instant - _EPOCH) // timedelta(microseconds=1)
