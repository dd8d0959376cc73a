"""What reconciles forecasts, learnt from the errors of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.errors import NotInstalled, TrainingError
from noria.tasks.forecasting.hierarchy import ALL, Hierarchy, Key, sums_of

Array = NDArray[np.float64]
Places = NDArray[np.int64]


def levels_of(columns: Sequence[str], hierarchy: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return the places of each level's columns in the key."""
    return [[columns.index(name) for name in level] for level in hierarchy]


def members_of(keys: Sequence[Key], levels: Sequence[Sequence[int]]) -> tuple[Places, ...]:
    """Return for each node the places of its parts; see ``Hierarchy``.

    A part of which there is no node, such as one that is too short to learn from, is in no sum that
    can be reconciled; whoever sums histories sums all of them.
    """
    place = {key: number for number, key in enumerate(keys)}
    found: list[list[int]] = [[] for _ in keys]
    for number, key in enumerate(keys):
        if ALL not in key:
            for above in dict.fromkeys(sums_of(key, levels)):
                if above in place:
                    found[place[above]].append(number)
    return tuple(np.array(own, np.int64) for own in found)


def learnt(
    method: str,
    members: tuple[Places, ...],
    residuals: Array,
    shares: Array,
) -> Hierarchy:
    """Return what reconciles nodes.

    Args:
        method: ``min-trace``, ``bottom-up`` or ``top-down``.
        members: Of each of s nodes.
        residuals: (s, t) errors of earlier forecasts, NaN where one is not known.
        shares: (s,) as ``Hierarchy`` has them.

    Raises:
        TrainingError: Errors of too few earlier forecasts are known.
        NotInstalled: hierarchicalforecast is not there.
    """
    covariance = np.full((len(members), len(members)), np.nan)
    if method == "min-trace":
        known = np.flatnonzero(np.isfinite(residuals).sum(axis=1) >= 2)
        both = residuals[known]
        times = np.isfinite(both).any(axis=0)
        if known.size:
            found = _shrunk(members, known, both[:, times])
            covariance[np.ix_(known, known)] = found
    return Hierarchy(method, members, covariance, shares)


def _shrunk(members: tuple[Places, ...], known: Places, residuals: Array) -> Array:
    """Return the covariance of errors, shrunk to its diagonal (Schaefer and Strimmer, 2005)."""
    methods = _library()
    order = np.concatenate(
        [
            [one for one, place in enumerate(known) if members[place].size],
            [one for one, place in enumerate(known) if not members[place].size],
        ]
    ).astype(np.int64)
    parts = [int(known[one]) for one in order if not members[known[one]].size]
    belongs = np.array(
        [
            np.isin(parts, members[place]) if members[place].size else np.array(parts) == place
            for place in known[order]
        ],
        np.float64,
    )
    own = residuals[order]
    try:
        fitted = methods.MinTrace(method="mint_shrink").fit(
            S=belongs, y_hat=np.zeros((len(own), 1)), y_insample=own, y_hat_insample=own * 0.0
        )
    except Exception as error:  # the library raises bare ones
        raise TrainingError(
            f"spec.task.options.reconcile: min-trace can't be learnt from {own.shape[1]} errors of "
            f"{len(own)} series: {error}",
            fix="write reconcile: bottom-up, or give longer series",
        ) from error
    found = np.empty((len(own), len(own)))
    found[np.ix_(order, order)] = fitted.W
    return found


def _library() -> Any:
    try:
        from hierarchicalforecast import methods
    except ImportError as error:
        raise NotInstalled(
            f"hierarchicalforecast can't be imported: {error}", fix="install noria[hierarchies]"
        ) from error
    return methods
