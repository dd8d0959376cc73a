"""What made rows bring, on held-out rows: the same fits with them and without."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.measures.measuring import value_of
from noria.tasks.tabular import calibration
from noria.tasks.tabular.resampling import Against
from noria.tasks.tabular.tryout import Tryout

Array = NDArray[np.float64]

_METRICS: Final = ("log-loss", "average-precision", "f1")


def against(made: Tryout, without: Tryout, algorithm: str, params: dict[str, object]) -> Against:
    """Return the metrics of an algorithm on the same folds, rows made in one of them and not."""
    with_made, plain = (_metrics(on, on.member(algorithm, params).said) for on in (made, without))
    return Against(with_made, plain, int(made.target.size))


def without_made(on: Tryout) -> Tryout:
    """Return the same folds without the rows that were made."""
    sides = tuple(
        (train.take(np.arange(fold.train.size)), held)
        for (train, held), fold in zip(on.sides, on.folds, strict=True)
    )
    return replace(on, sides=sides)


def _metrics(on: Tryout, said: Array) -> dict[str, float]:
    probability = said[:, 0] if said.shape[1] == 1 else said
    codes = on.target.astype(np.int64)
    calibrated = np.empty_like(probability)
    half = np.arange(codes.size) % 2 == 0
    for fitted in (half, ~half):
        curve = calibration.fit("sigmoid", probability[fitted], codes[fitted])
        calibrated[~fitted] = curve.apply(probability[~fitted])
    found = {name: value_of(name, on.target, calibrated) for name in _METRICS}
    return {name: value for name, value in found.items() if np.isfinite(value)}
