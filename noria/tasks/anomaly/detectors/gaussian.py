"""The Mahalanobis distance from the middle of the rows, by a covariance that outliers don't spoil.

The minimum covariance determinant (Rousseeuw and Van Driessen, Technometrics 41, 1999) where there
are rows enough for it, else the shrunk covariance of Ledoit and Wolf (Journal of Multivariate
Analysis 88, 2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Arrays
from noria.tasks.anomaly.detectors.components import components_of, onto

ENOUGH: Final = 10
"""Rows for each column that the robust covariance needs."""

KEPT: Final = 20_000
"""Rows that it is estimated on at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """``middle`` (r,) and ``precision`` (r, r), of components where there are many columns."""

    kept: Arrays

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``: the distance in standard deviations."""
        apart = onto(self.kept, rows) - self.kept["middle"]
        squares = np.einsum("ij,jk,ik->i", apart, self.kept["precision"], apart, optimize=True)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


def fit(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> Gaussian:
    """Estimate the covariance."""
    del threads
    from sklearn.covariance import LedoitWolf, MinCovDet

    if len(rows) > KEPT:
        rows = rows[np.random.default_rng(seed).choice(len(rows), KEPT, replace=False)]
    kept = components_of(rows, seed)
    seen = onto(kept, rows)
    varied = seen.std(axis=0) > 0.0
    model: Any = LedoitWolf(**params)
    if seen.shape[0] >= ENOUGH * seen.shape[1] and bool(varied.all()) and _is_full(seen):
        model = MinCovDet(random_state=seed, **params)
    model.fit(seen)
    return Gaussian({**kept, "middle": model.location_, "precision": model.precision_})


def _is_full(seen: Array) -> bool:
    """Say whether no column is made of others: the robust covariance would have no inverse."""
    return bool(np.linalg.matrix_rank(seen - seen.mean(axis=0)) == seen.shape[1])
