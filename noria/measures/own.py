"""Metrics that a task family brings: what its functions give, as an estimate."""

from __future__ import annotations

import math

import numpy as np

from noria.errors import InvalidInput
from noria.measures.catalog import OwnMetric, Statistic
from noria.measures.estimates import Array, Estimate, between, unscaled

_MEND = "mend it in the family that brings it"
_MOST_WORDS = 300


def estimate(metric: OwnMetric, truth: Array, prediction: Array) -> Estimate:
    """Return a family's own metric of n samples; n > 0. NaN where a number is not finite.

    Raises:
        InvalidInput: Its function raises, or gives other than it says: so many numbers, in limits.
    """
    n = truth.shape[0]
    if metric.per_sample is None:
        value = _asked(metric, metric.whole, truth, prediction, ())
        return Estimate(float(value), np.zeros(n))
    rows = _asked(metric, metric.per_sample, truth, prediction, (n,))
    if not np.isfinite(rows).all():
        return Estimate(math.nan, np.zeros(n))
    if metric.low is not None and metric.high is not None:
        return between(rows, metric.low, metric.high)
    return unscaled(rows)


def _asked(
    metric: OwnMetric,
    function: Statistic | None,
    truth: Array,
    prediction: Array,
    shape: tuple[int, ...],
) -> Array:
    if function is None or truth.shape[0] != prediction.shape[0]:
        raise InvalidInput(
            f"metric {metric.name}: {truth.shape[0]} samples and {prediction.shape[0]} predictions",
            fix="give as many",
        )
    try:
        found = np.asarray(function(_locked(truth), _locked(prediction)), np.float64)
    except InvalidInput:
        raise
    except (Exception, SystemExit) as error:  # whatever another's code raises is its fault
        said = f"{type(error).__name__}: {error}"[:_MOST_WORDS]
        raise InvalidInput(
            f"metric {metric.name}: its function raised {said}", fix=_MEND
        ) from error
    if found.shape != shape:
        raise InvalidInput(
            f"metric {metric.name}: its function gave the shape {found.shape}, not {shape}",
            fix=_MEND,
        )
    least, most = (found.min(), found.max()) if found.size else (math.nan, math.nan)
    if (metric.low is not None and least < metric.low) or (
        metric.high is not None and most > metric.high
    ):
        raise InvalidInput(
            f"metric {metric.name}: its function gave {least:g} to {most:g}, and its limits are "
            f"{metric.low} and {metric.high}",
            fix=_MEND,
        )
    return found


def _locked(values: Array) -> Array:
    """Return the same values, not to be written to: other metrics read them after this one."""
    view = values.view()
    view.flags.writeable = False
    return view
