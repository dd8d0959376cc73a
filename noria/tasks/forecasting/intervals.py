"""Intervals of forecasts by split conformal prediction, in units of each series' own scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.tasks.forecasting.known import mean_of_known

Array = NDArray[np.float64]

FEW: Final = 200
"""With fewer errors of a step, widths may not shrink from one step to the next."""


def scale(histories: Array, season: int) -> Array:
    """Return the mean absolute seasonal difference of each history, (m,); always positive.

    Where it is zero or can't be taken, that of neighbouring values, then the mean size of the
    values, then 1.

    Args:
        histories: (m, L), oldest first; NaN is a value that is not known.
        season: Steps of a season.

    Raises:
        InvalidInput: The season is not positive.
    """
    if season < 1:
        raise InvalidInput(f"season {season} is not positive", fix="write 1 where there is none")
    found = mean_of_known(np.abs(histories[:, season:] - histories[:, :-season]))
    for other in (np.diff(histories, axis=1), histories):
        empty = ~(found > 0.0)
        if not empty.any():
            return found
        found[empty] = mean_of_known(np.abs(other[empty]))
    return np.where(found > 0.0, found, 1.0)


def calibrate(errors: Array, levels: tuple[float, ...]) -> Mapping[float, Array]:
    """Return the half width (h,) of each level's interval, in scales.

    Split conformal prediction: of n errors of a step, the one of rank ceil((n + 1) level). If
    the errors and the next one are exchangeable, the interval holds it with a probability of at
    least ``level`` and, without ties, at most level + 1 / (n + 1) (Vovk, Gammerman and Shafer,
    Algorithmic Learning in a Random World, 2005; Lei and others, Journal of the American
    Statistical Association 113, 2018). Where that rank is over n, there are too few errors for
    the level and the width is infinite: 80 % takes 4, 95 % takes 19.

    Where a step has fewer than ``FEW`` errors, widths are the nearest (least squares) that never
    shrink with the step, so that chance does not make a later step surer than an earlier one.

    Args:
        errors: (m, h) absolute errors over the scales of their histories, of earlier forecasts
            by the same method. NaN is an error that is not known.
        levels: Shares between 0 and 1 that the intervals should hold.

    Raises:
        InvalidInput: A level is not between 0 and 1, or an error is negative.
    """
    for level in levels:
        if not 0.0 < level < 1.0:
            raise InvalidInput(f"level {level} is not between 0 and 1", fix="write 0.8 for 80 %")
    if errors.ndim != 2 or (errors < 0.0).any():
        raise InvalidInput(
            f"errors {errors.shape} are not absolute errors (m, h)", fix="take their absolute value"
        )
    counts = (~np.isnan(errors)).sum(axis=0)
    ordered = np.sort(errors, axis=0)
    found: dict[float, Array] = {}
    for level in levels:
        # The product may lie just above a whole number that it is in exact arithmetic.
        ranks = np.ceil((counts + 1) * level - 1e-9).astype(np.int64)
        enough = ranks <= counts
        widths = np.full(errors.shape[1], math.inf)
        widths[enough] = ordered[ranks[enough] - 1, np.flatnonzero(enough)]
        if counts.size and counts.min() < FEW:
            widths = _rising(widths, counts)
        found[level] = widths
    return found


def band(prediction: Array, scale: Array, widths: Array) -> tuple[Array, Array]:
    """Return the lower and the upper ends, (m, h) each, around forecasts (m, h).

    ``scale`` is (m,), of the histories that the forecasts are of; ``widths`` (h,).
    """
    half = scale[:, None] * widths[None, :]
    return prediction - half, prediction + half


def _rising(widths: Array, counts: NDArray[np.int64]) -> Array:
    """Return the nearest sequence that never falls, by pooling neighbours that violate it.

    Ayer, Brunk, Ewing, Reid and Silverman, Annals of Mathematical Statistics 26 (1955). Each
    step weighs as many as its errors; steps without a width stay infinite, and so do later ones.
    """
    finite = np.isfinite(widths)
    end = widths.size if finite.all() else int(np.argmin(finite))
    pools: list[tuple[float, float, int]] = []
    for width, count in zip(widths[:end], counts[:end], strict=True):
        pool = (float(width), float(count), 1)
        while pools and pools[-1][0] > pool[0]:
            value, weight, steps = pools.pop()
            total = weight + pool[1]
            mean = (value * weight + pool[0] * pool[1]) / total
            pool = (mean, total, steps + pool[2])
        pools.append(pool)
    risen = np.full(widths.size, math.inf)
    if pools:
        risen[:end] = np.repeat([value for value, _, _ in pools], [n for _, _, n in pools])
    return risen
