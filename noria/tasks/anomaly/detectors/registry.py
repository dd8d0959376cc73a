"""The detectors by the name of their algorithm: how each is fitted, and built again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput, shorten
from noria.tasks.anomaly import ALIBI, AUTO, MEMBERS, RESIDUAL
from noria.tasks.anomaly.detectors import (
    Array,
    Arrays,
    Detector,
    alibi,
    autoencoder,
    gaussian,
    isolation,
    neighbours,
    residual,
    tails,
)
from noria.tasks.anomaly.detectors.combined import Combined

Fit: TypeAlias = Callable[[Array, Mapping[str, Any], int, int], Detector]

_FITS: Final[Mapping[str, Fit]] = {
    "isolation-forest": isolation.fit,
    "knn": neighbours.fit_neighbours,
    "lof": neighbours.fit_lof,
    "ecod": tails.fit,
    "mahalanobis": gaussian.fit,
    "autoencoder": autoencoder.fit,
    RESIDUAL: residual.fit,
    **{ALIBI + name: one for name, one in alibi.FITS.items()},
}
_BUILDS: Final[Mapping[str, tuple[Callable[[Arrays], Detector], tuple[str, ...]]]] = {
    "isolation-forest": (isolation.IsolationForest, isolation.ARRAYS),
    "knn": (neighbours.Neighbours, ("points", "k")),
    "lof": (neighbours.LocalOutlierFactor, ("points", "k", "reach", "density")),
    "ecod": (tails.Tails, ("values",)),
    "mahalanobis": (gaussian.Gaussian, ("middle", "precision")),
    "autoencoder": (autoencoder.Autoencoder, ("weights0", "biases0")),
    RESIDUAL: (residual.Residual, ("season", "alpha")),
    **{ALIBI + name: one for name, one in alibi.BUILDS.items()},
}
"""How each is built from its arrays, and which it needs."""


def fit(
    algorithm: str, rows: Array, params: Mapping[str, Any], seed: int, threads: int
) -> Detector:
    """Fit a detector. The same rows, parameters and seed give the same one.

    One of Alibi Detect's has ``ALIBI`` before its name.

    Raises:
        InvalidInput: The library refuses a hyperparameter's value.
    """
    if algorithm == AUTO:
        members = {
            name: fit(
                name, rows, {key: params[key] for key in keys if key in params}, seed, threads
            )
            for name, keys in MEMBERS.items()
        }
        return _combined(members, rows)
    try:
        return _FITS[algorithm](rows, params, seed, threads)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"spec.train.hyperparameters: {algorithm} refuses {shorten(dict(params))}: {error}",
            fix="correct the value",
        ) from error


def load(algorithm: str, arrays: Arrays) -> Detector:
    """Build a detector from its arrays.

    Raises:
        IntegrityError: The algorithm is unknown, or an array is missing.
    """
    if algorithm == AUTO:
        _refuse_missing(algorithm, arrays, ("centre", "unit"))
        members = {name: load(name, _below(arrays, name)) for name in MEMBERS}
        return Combined(members, arrays["centre"], arrays["unit"])
    if algorithm not in _BUILDS:
        raise IntegrityError(f"there is no detector {shorten(algorithm)}", fix="train again")
    build, needed = _BUILDS[algorithm]
    _refuse_missing(algorithm, arrays, needed)
    return build(arrays)


def _refuse_missing(algorithm: str, arrays: Arrays, needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise IntegrityError(f"{algorithm}: {missing[0]} is missing", fix="train again")


def _combined(members: Mapping[str, Detector], rows: Array) -> Combined:
    scores = [_of_the_fitted(one, rows) for one in members.values()]
    centre, high = np.array([np.quantile(one, [0.5, 0.95]) for one in scores]).T
    return Combined(members, centre, np.where(high > centre, high - centre, 1.0))


def _of_the_fitted(detector: Detector, rows: Array) -> NDArray[np.float64]:
    """Return scores of rows that it was fitted on, none of which is its own neighbour."""
    if isinstance(detector, neighbours.Neighbours):
        points = detector.kept["points"]
        k = max(1, min(int(detector.kept["k"]), len(points) - 1))
        return np.asarray(neighbours.apart(points, k)[0].mean(axis=1))
    return detector.score(rows)


def _below(arrays: Arrays, name: str) -> dict[str, NDArray[Any]]:
    return {
        key.removeprefix(f"{name}/"): values
        for key, values in arrays.items()
        if key.startswith(f"{name}/")
    }
