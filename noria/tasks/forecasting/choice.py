"""Which method forecasts: the simplest that is within noise of the best one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.tasks.choosing import simplest

Array = NDArray[np.float64]
Places = NDArray[np.int64]

NAIVE: Final = "seasonal-naive"

ENOUGH: Final = 6
"""Forecasts of a series from which on it may have a method of its own."""


def choose(
    errors: Mapping[str, Array], places: Places | None = None, groups: Places | None = None
) -> str:
    """Return the method to forecast with.

    By the mean absolute scaled error; see ``noria.tasks.choosing.simplest``.

    Args:
        errors: For each method, from the simplest on, its absolute scaled errors (m, h) of the
            same forecasts from several origins. NaN is an error that is not known.
        places: Which rows count; None: all.
        groups: (m,) numbers rows whose errors are not independent, such as those of one series
            or of one origin; a group then weighs by its rows. None: each row is its own.

    Raises:
        InvalidInput: The seasonal naive is missing, shapes differ, or nothing is known.
    """
    if NAIVE not in errors:
        raise InvalidInput(f"errors: {NAIVE} is missing", fix="measure it beside the others")
    if len({found.shape for found in errors.values()}) != 1:
        shapes = ", ".join(f"{name} {found.shape}" for name, found in errors.items())
        raise InvalidInput(f"errors: shapes differ: {shapes}", fix="measure the same forecasts")
    rows = np.arange(len(errors[NAIVE])) if places is None else places
    stacked = np.stack([found[rows] for found in errors.values()])
    known = ~np.isnan(stacked).any(axis=0)
    counts = known.sum(axis=1)
    if not counts.any():
        raise InvalidInput("errors: none is known", fix="give origins with later values")
    said = counts > 0
    means = np.where(known, stacked, 0.0).sum(axis=2)[:, said] / counts[said]
    group = np.arange(rows.size)[said] if groups is None else groups[rows][said]
    return list(errors)[simplest(means, group)]


def for_each(errors: Mapping[str, Array], series: Places, method: str) -> dict[int, str]:
    """Return the method of each series; see ``choose``, where each forecast is its own group.

    Args:
        errors: As ``choose`` takes them.
        series: (m,) numbers the series that rows are of.
        method: That of all together: a series with fewer than ``ENOUGH`` forecasts takes it, and so
            does one for which no other is shown to be better than it, by more than one standard
            error.
    """
    ordered = {method: errors[method], **errors}
    found: dict[int, str] = {}
    for number in np.unique(series):
        rows = np.flatnonzero(series == number)
        known = np.isfinite(np.stack([one[rows] for one in errors.values()])).all(axis=0)
        enough = np.count_nonzero(np.atleast_2d(known).sum(axis=1)) >= ENOUGH
        found[int(number)] = choose(ordered, rows) if enough else method
    return found
