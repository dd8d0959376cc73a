"""From a long table of interactions to samples: a user and a moment.

A sample has the user's *history* before the moment and what was *taken* from then on: at most k
items, within ``spec.task.options.window``. The samples of a user follow each other without a gap,
so that every interaction was taken in one sample, and is history in the later ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, shorten
from noria.tasks.origins import LABEL_KNOWN
from noria.tasks.protocol import Requests
from noria.tasks.recommendation import EXCLUDE, HISTORY, ONLY
from noria.tasks.recommendation.describe import options_of
from noria.tasks.recommendation.items import NOTHING, SEPARATOR, joined, numbers_of
from noria.tasks.recommendation.words import targets_of
from noria.tasks.sources.rows import moments

if TYPE_CHECKING:
    from noria.spec import ModelSpec

Array = NDArray[np.float64]
Places = NDArray[np.int64]

TAKEN: Final = "taken"
"""Column of a sample: the items taken from its moment on, as one text."""

WEIGHTS: Final = "weights"
"""Column of a sample: how much each of them counts, a list."""

_MOST_SAID: Final = 3


def checked(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the interactions that count: of ``seen: leave-out`` the first of user and item.

    Raises:
        DataError: A user, an item or a weight is missing or none; it names column, row and value.
    """
    user, item = spec.data.entity_key[0], str(spec.data.target)
    missing = rows[user].isna()
    if missing.any():
        place = int(np.argmax(missing))
        raise DataError(
            f"spec.data.entityKey: {user} is missing in {int(missing.sum())} of {len(rows)} rows, "
            f"the first is of {rows[item].iloc[place]} at {_when(spec, rows, place)}",
            fix="leave those rows out, or fill them",
        )
    names = rows[item].astype(str)
    wrong = (
        names.str.contains(SEPARATOR, regex=False) | (names.str.strip() != names) | (names == "")
    )
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DataError(
            f"spec.data.target: {item} is {shorten(names.iloc[place])} in the row of {user} "
            f"{rows[user].iloc[place]} at {_when(spec, rows, place)}; {int(wrong.sum())} rows "
            f"hold {SEPARATOR!r}, which is between the items of a history, or spaces around",
            fix="give items names without them, such as their ids",
        )
    _refuse_alike(item, names)
    weight = options_of(spec).weight
    if weight is not None:
        _refuse_weights(spec, rows, weight)
    if options_of(spec).seen == "leave-out":
        return rows.drop_duplicates([user, item], ignore_index=True)
    return rows


def _refuse_alike(item: str, names: pd.Series) -> None:
    """Refuse items of which two have one number."""
    unique = names.unique().tolist()
    numbers = numbers_of(unique)
    _, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    if (counts > 1).any():
        same = np.flatnonzero(numbers == numbers[first[np.argmax(counts > 1)]])
        alike = [unique[place] for place in same]
        raise DataError(
            f"spec.data.target: {item} has items that can't be told apart by number: "
            f"{shorten(alike)}",
            fix="rename one of them",
        )


def _refuse_weights(spec: ModelSpec, rows: pd.DataFrame, weight: str) -> None:
    values = rows[weight].to_numpy(np.float64)
    wrong = ~(np.isfinite(values) & (values > 0.0))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DataError(
            f"spec.task.options.weight: {weight} is {values[place]:g} in the row of "
            f"{spec.data.entity_key[0]} {rows[spec.data.entity_key[0]].iloc[place]} at "
            f"{_when(spec, rows, place)}; {int(wrong.sum())} of {len(rows)} are not over 0",
            fix="leave out what is no sign that someone liked it, or give it a small weight",
        )


def _when(spec: ModelSpec, rows: pd.DataFrame, place: int) -> str:
    return f"{rows[str(spec.data.event_time)].iloc[place]:%Y-%m-%d %H:%M:%S}"


class _Sample(NamedTuple):
    user: str
    at: int
    """The moment: one millisecond before the first interaction, which is not known then."""
    last: int
    """When the last interaction was, milliseconds."""
    full: bool
    """Whether it has k items, and nothing that comes later belongs to it."""
    history: list[str]
    taken: list[str]
    weights: Array


def samples_of(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the samples of interactions, ordered by moment and user.

    Columns: the user, the event time (the moment before the first interaction), ``history``,
    ``exclude`` and ``only`` (nothing), ``taken`` and ``weights``, the number of each item taken in
    ``next-1`` to ``next-k`` (-1: none), and when the last of them was taken.
    """
    found = list(_samples(spec, checked(spec, rows)))
    known = np.array([one.last for one in found], np.int64)
    frame = _frame(spec, found)
    frame[LABEL_KNOWN] = _times(known)
    return _ordered(spec, frame)


def requests_of(spec: ModelSpec, rows: pd.DataFrame, start: float, end: float) -> Requests:
    """Return a request at the moment of each sample in [start, end), milliseconds.

    What it will be judged by is known when k items were taken, or the window has passed.
    """
    options = options_of(spec)
    window = int(options.window.total_seconds() * 1000)
    found = [one for one in _samples(spec, checked(spec, rows)) if start <= one.at < end]
    known = np.array([one.last if one.full else one.at + window for one in found], np.int64)
    rows = _frame(spec, found).drop(columns=[TAKEN, WEIGHTS])
    order = np.argsort([one.at for one in found], kind="stable")
    return Requests(rows.take(order).reset_index(drop=True), targets_of(options.k), known[order])


def _samples(spec: ModelSpec, rows: pd.DataFrame) -> Iterator[_Sample]:
    """Cut the interactions of each user; ``rows`` are in the order of time."""
    options = options_of(spec)
    window = int(options.window.total_seconds() * 1000)
    event = moments(rows, str(spec.data.event_time))
    items = rows[str(spec.data.target)].to_numpy(object)
    weight = options.weight
    weights = np.ones(len(rows)) if weight is None else rows[weight].to_numpy(np.float64)
    for user, at in rows.groupby(spec.data.entity_key[0], sort=True).indices.items():
        places = np.sort(np.asarray(at))
        times = event[places]
        start = 0
        while start < places.size:
            within = int(np.searchsorted(times, times[start] + window, side="right"))
            stop = min(within, start + options.k)
            part = places[start:stop]
            yield _Sample(
                user=str(user),
                at=int(times[start]) - 1,
                last=int(times[stop - 1]),
                full=part.size == options.k,
                history=items[places[max(0, start - options.history) : start]].tolist(),
                taken=items[part].tolist(),
                weights=weights[part],
            )
            start = stop


def _frame(spec: ModelSpec, found: list[_Sample]) -> pd.DataFrame:
    count = options_of(spec).k
    numbers = np.full((len(found), count), NOTHING)
    for place, one in enumerate(found):
        # Of one that was taken again in a window the first time counts.
        own = list(dict.fromkeys(one.taken))
        numbers[place, : len(own)] = numbers_of(own)
    nothing = pd.Series([None] * len(found), dtype=object)
    columns: dict[str, Any] = {
        spec.data.entity_key[0]: pd.Series([one.user for one in found], dtype=object),
        str(spec.data.event_time): _times(np.array([one.at for one in found], np.int64)),
        HISTORY: pd.Series([joined(one.history) or None for one in found], dtype=object),
        EXCLUDE: nothing,
        ONLY: nothing,
        TAKEN: pd.Series([joined(one.taken) for one in found], dtype=object),
        WEIGHTS: pd.Series([one.weights for one in found], dtype=object),
    }
    columns |= {name: numbers[:, place] for place, name in enumerate(targets_of(count))}
    return pd.DataFrame(columns)


def _ordered(spec: ModelSpec, frame: pd.DataFrame) -> pd.DataFrame:
    order = [str(spec.data.event_time), spec.data.entity_key[0]]
    return frame.sort_values(order, kind="stable", ignore_index=True)


def _times(millis: Places) -> pd.Series:
    found = pd.Series(millis.astype("datetime64[ms]"))
    return found.dt.tz_localize("UTC").astype("datetime64[us, UTC]")
