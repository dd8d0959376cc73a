"""The rules that the loop is held against: when each fits anew, and what it says.

Each fits the model's recipe on every row whose label was known, with no gate and no canary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from noria.backtest.history import History

GROWTH: Final = 0.2
MONTHS: Final = 3
PARTS: Final = 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Periods:
    """The stream cut by time: ``starts`` (epoch ms) of each part, and how a part is called.

    ``kind`` is month, or part where the stream is too short for months.
    """

    kind: str
    starts: tuple[int, ...]
    names: tuple[str, ...]


def periods(event_ms: npt.NDArray[np.int64]) -> Periods:
    """Cut into calendar months (UTC); into ten equal parts when there are less than three."""
    first, last = int(event_ms[0]), int(event_ms[-1])
    months = np.arange(
        np.datetime64(first, "ms").astype("datetime64[M]"),
        np.datetime64(last, "ms").astype("datetime64[M]") + 1,
    )
    if len(months) > MONTHS:
        starts = [max(first, int(m.astype("datetime64[ms]").astype(np.int64))) for m in months]
        return Periods("month", tuple(starts), tuple(map(str, months)))
    starts = np.linspace(first, last + 1, PARTS + 1).astype(np.int64)[:-1].tolist()
    names = (f"{datetime.fromtimestamp(s / 1000, UTC):%Y-%m-%d %H:%M}" for s in starts)
    return Periods("part", tuple(starts), tuple(names))


def monthly(history: History) -> list[int]:
    """Return when the monthly rule fits, epoch ms: at each period's start but the first."""
    known = np.sort(history.label_ms)
    times = periods(history.event_ms[history.start :]).starts
    counts = np.searchsorted(known, times, side="right")
    return [
        t for t, before, now in zip(times[1:], counts, counts[1:], strict=False) if now > before
    ]


def grow(history: History) -> list[int]:
    """Return when the rows with a label had grown by a fifth since the last fit, epoch ms."""
    known = np.sort(history.label_ms)
    first, last = int(history.event_ms[history.start]), int(history.event_ms[-1])
    rows = int(np.searchsorted(known, first, side="right"))
    times: list[int] = []
    while (needed := int(np.ceil(rows * (1 + GROWTH)))) <= len(known) and known[needed - 1] <= last:
        times.append(int(known[needed - 1]))
        rows = int(np.searchsorted(known, times[-1], side="right"))
    return times


def segments(history: History, times: Sequence[int]) -> list[npt.NDArray[np.int64]]:
    """Return the places of the streamed rows that each fit answers; the first are the frozen's."""
    event = history.event_ms[history.start :]
    cuts = np.searchsorted(event, np.array(times, np.int64), side="left")
    return np.split(np.arange(len(event)), cuts)


def no_change(history: History, classes: int, truth: Floats) -> Floats:
    """Return what the last known label says about each streamed row.

    Of a number it says that it comes again. Of classes it says the shares that followed the
    same last label, among the labels known by then, with Laplace's rule.

    Args:
        history: The rows.
        classes: How many there are; 0 for a number.
        truth: (n,) values or class codes of all rows of the history.

    Returns:
        (m,) for m streamed rows, the probability of class 1 for two classes; else (m, classes).
    """
    order = np.argsort(history.label_ms, kind="stable")
    seen = truth[order]
    # Labels known before the event.
    known = np.searchsorted(history.label_ms[order], history.event_ms, side="left")
    last = np.where(known > 0, seen[np.maximum(known, 1) - 1], 0.0)
    if not classes:
        return last[history.start :]
    shares = np.empty((len(truth), classes))
    for before in range(classes):
        same = last[order] == before
        mine = last == before
        total = np.concatenate([[0], np.cumsum(same)])
        for after in range(classes):
            counts = np.concatenate([[0], np.cumsum(same & (seen == after))])
            shares[mine, after] = (counts[known[mine]] + 1) / (total[known[mine]] + classes)
    streamed = shares[history.start :]
    return streamed[:, 1] if classes == 2 else streamed
