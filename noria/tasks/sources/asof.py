"""What was known when: the point-in-time join, in plain pandas.

A source row says what held at its *event* time and, if it has one, when it was *created*
(published). It is known from the later of the two on. Of the rows known at an instant the
latest event counts, and of several versions of that event the one created last: a correction
replaces what it corrects from its own publication on, and never before; a correction of an
event that newer ones have overtaken changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np
import pandas as pd

from noria.tasks.sources.typed import read_as

EVENT: Final = "__event"
"""Column of a log: the row's event time."""

KNOWN: Final = "__known"
"""Column of a log: from when the row is the one that counts."""

_RANK: Final = "__rank"
_AT: Final = "__at"
_ROW: Final = "__row"


def utc(column: pd.Series) -> pd.Series:
    """Return ``column`` as UTC instants in microseconds; instants without a zone are UTC."""
    return pd.to_datetime(column, utc=True).astype("datetime64[us, UTC]")


def known_log(
    rows: pd.DataFrame, keys: Sequence[str], event: str, created: str | None
) -> pd.DataFrame:
    """Return the rows that ever counted, ordered by when they began to, with ``KNOWN``, ``EVENT``.

    The log answers "what counted at t" by the last row of a key with ``KNOWN <= t``, so both
    an as-of join over many instants and an incremental copy need only a search in it. Rows
    without an event time, or with an empty ``created``, were never known.

    Args:
        rows: Source rows.
        keys: Join key columns; may be empty (one series for everything).
        event: Column of event times.
        created: Column of creation times, or None when rows are known at their event time.
    """
    happened = utc(rows[event])
    published = happened if created is None else utc(rows[created])
    known = happened.where(happened >= published, published)
    log = rows.assign(**{EVENT: happened, KNOWN: known})
    order = np.lexsort((published.astype("int64"), happened.astype("int64")))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows))
    log[_RANK] = rank
    log = log[happened.notna() & published.notna()]
    log = log.sort_values([KNOWN, _RANK])
    ranks = log.groupby(list(keys), sort=False)[_RANK] if keys else log[_RANK]
    return log[ranks.cummax() == log[_RANK]].drop(columns=_RANK).reset_index(drop=True)


def as_of(
    rows: pd.DataFrame,
    log: pd.DataFrame,
    keys: Sequence[str],
    at: str,
    columns: Sequence[str],
    ttl: timedelta | None,
) -> pd.DataFrame:
    """Return ``columns`` of what counted for each row at its instant, with the rows' own index.

    A value whose event lies more than ``ttl`` before the instant is missing, like one that was
    never known.

    Args:
        rows: Rows with ``keys`` and the column ``at``, none of whose instants is missing.
        log: From :func:`known_log`, its columns named like those of ``rows``.
        keys: Join key columns.
        at: Column of the instants.
        columns: Columns of the log to return.
        ttl: Greatest age of an event, or None for no limit.
    """
    # By their texts: a key is one whether the rows or the source type it as a number.
    left = pd.DataFrame({key: read_as(rows[key], "text") for key in keys}, index=rows.index)
    right = log[[*keys, KNOWN, EVENT, *columns]].assign(
        **{key: read_as(log[key], "text") for key in keys}
    )
    left[_AT] = utc(rows[at])
    left[_ROW] = np.arange(len(rows))
    joined = pd.merge_asof(
        left.sort_values(_AT),
        right,
        left_on=_AT,
        right_on=KNOWN,
        by=list(keys) or None,
    ).sort_values(_ROW)
    found = joined[list(columns)]
    if ttl is not None:
        found = found.where(joined[_AT] - joined[EVENT] <= ttl)
    return found.set_axis(rows.index, axis=0)
