"""A test's p-value when its rows are not independent, the same for every backend.

The statistic stays what it is. Of n rows of the reference and m of the window with design effects
a and b, n / a and m / b independent ones would tell as much; the p-value is of so many. Joint
tests permute rows, so they get every b-th row of the window instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from scipy.special import chdtrc, chdtri

from monitoring.detectors.protocol import Detector, DetectorResult, FeatureResult
from monitoring.detectors.statistics import ks_p_values
from monitoring.table import Table

_SMALLEST: Final = 1e-300
_ROW_BY_ROW: Final = ("online-mmd", "online-cvm")
_PER_COLUMN: Final = ("ks", "chi-square", "fisher", "tabular")


def is_joint(detector: Detector) -> bool:
    """Whether a detector tests whole rows of a window at once."""
    return detector.config.kind not in (*_ROW_BY_ROW, *_PER_COLUMN)


def thinned(window: Table, effect: float) -> Table:
    """Return every so many-th row that what is left tells as much as all of them."""
    every = round(effect)
    return window if every <= 1 else window.take(np.arange(0, window.rows, every, dtype=np.int64))


def deflated(
    result: DetectorResult, reference: Mapping[str, float], window: Mapping[str, float]
) -> DetectorResult:
    """Return a result whose p-values allow for design effects.

    Args:
        result: of a detector that tests each column; another is returned as it is.
        reference: design effect of the reference's rows by column; 1 where there is none.
        window: that of the window's rows.
    """
    if result.p_value is None or not result.features:
        return result
    effects = {
        one.name: both
        for one in result.features
        if all(one.rows)
        and max(both := (reference.get(one.name, 1.0), window.get(one.name, 1.0))) > 1.0
    }
    ks = _ks_p_values(result.features, effects)
    found = [
        _deflated(one, *effects[one.name], ks.get(one.name)) if one.name in effects else one
        for one in result.features
    ]
    ranked = tuple(sorted(found, key=lambda one: (one.p_value, -one.effect)))
    if ranked == result.features:
        return result
    first = ranked[0]
    p_value = min(1.0, first.p_value * len(ranked))
    return replace(
        result,
        statistic=first.statistic,
        p_value=p_value,
        drift=p_value <= result.threshold,
        effect=abs(first.effect),
        features=ranked,
        design=first.design,
    )


def _ks_p_values(
    found: Sequence[FeatureResult], effects: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Return by column the p-values of KS tests of as many rows as the effects leave.

    All at once: a call costs more than a column does.
    """
    tested = [one for one in found if one.test == "ks" and one.name in effects]
    if not tested:
        return {}
    sizes = np.array(
        [
            [max(1, round(rows / by)) for rows, by in zip(one.rows, effects[one.name], strict=True)]
            for one in tested
        ]
    )
    statistics = np.array([one.statistic for one in tested])
    p_values = ks_p_values(statistics, sizes[:, 0], sizes[:, 1])
    return dict(zip((one.name for one in tested), p_values.tolist(), strict=True))


def _deflated(
    found: FeatureResult, reference: float, window: float, ks_p_value: float | None
) -> FeatureResult:
    n, m = found.rows
    # The variance of a difference is 1/n + 1/m, and a/n + b/m with design effects.
    design = (reference / n + window / m) / (1.0 / n + 1.0 / m)
    if ks_p_value is not None:
        p_value = ks_p_value
    elif found.test == "chi-square":
        p_value = float(chdtrc(max(found.freedom, 1), found.statistic / design))
    else:
        # As a chi-square of one degree of freedom with the same p-value.
        p_value = float(chdtrc(1, chdtri(1, max(found.p_value, _SMALLEST)) / design))
    # It never tells more than independent rows would.
    return replace(found, p_value=max(p_value, found.p_value), design=design)
