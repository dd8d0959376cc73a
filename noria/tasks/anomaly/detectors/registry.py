"""The detectors by the name of their algorithm: how each is fitted, and built again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput, shorten
from noria.tasks.anomaly.describe import AUTO, MEMBERS
from noria.tasks.anomaly.detectors import (
    Arrays,
    Detector,
    Seen,
    autoencoder,
    gaussian,
    isolation,
    neighbours,
    tails,
)
from noria.tasks.anomaly.detectors.combined import Combined

Fit: TypeAlias = Callable[[Seen, Mapping[str, Any], int, int], Detector]

_FITS: Final[Mapping[str, Fit]] = {
    "isolation-forest": isolation.fit,
    "knn": neighbours.fit_neighbours,
    "lof": neighbours.fit_lof,
    "ecod": tails.fit,
    "mahalanobis": gaussian.fit,
    "autoencoder": autoencoder.fit,
}
_BUILDS: Final[Mapping[str, Callable[[Arrays], Detector]]] = {
    "isolation-forest": isolation.IsolationForest,
    "knn": neighbours.Neighbours,
    "lof": neighbours.LocalOutlierFactor,
    "ecod": tails.Tails,
    "mahalanobis": gaussian.Gaussian,
    "autoencoder": autoencoder.Autoencoder,
}


def fit(algorithm: str, rows: Seen, params: Mapping[str, Any], seed: int, threads: int) -> Detector:
    """Fit a detector. The same rows, parameters and seed give the same one.

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
        IntegrityError: They are of none, or one is missing.
    """
    try:
        if algorithm == AUTO:
            members = {name: _BUILDS[name](_below(arrays, name)) for name in MEMBERS}
            return Combined(members, arrays["centre"], arrays["unit"])
        return _BUILDS[algorithm](arrays)
    except (KeyError, ValueError, IndexError) as error:
        raise IntegrityError(f"{algorithm}: {error} is missing", fix="train again") from error


def _combined(members: Mapping[str, Detector], rows: Seen) -> Combined:
    scores = [_of_the_fitted(one, rows) for one in members.values()]
    quarters = np.array([np.quantile(one, [0.5, 0.95]) for one in scores])
    unit = quarters[:, 1] - quarters[:, 0]
    return Combined(members, quarters[:, 0], np.where(unit > 0.0, unit, 1.0))


def _of_the_fitted(detector: Detector, rows: Seen) -> NDArray[np.float64]:
    """Return scores of rows that it was fitted on, none of which is its own neighbour."""
    if isinstance(detector, neighbours.Neighbours):
        points = detector.kept["points"]
        k = max(1, min(int(detector.kept["k"]), len(points) - 1))
        return neighbours.apart(points, k)[0][:, -1]
    return detector.score(rows)


def _below(arrays: Arrays, name: str) -> dict[str, NDArray[Any]]:
    return {
        key.removeprefix(f"{name}/"): values
        for key, values in arrays.items()
        if key.startswith(f"{name}/")
    }
