"""Probability calibration, kept as arrays.

Fitted on predictions of rows that the fold's model had not seen, each fold
later than what it was fitted on. Isotonic: pool-adjacent-violators, then
linear between the centres of the blocks (centred isotonic regression: Oron
and Flournoy, 2017, "Centered isotonic regression", Stat. Biopharm. Res. 9),
which keeps ties few. Sigmoid: Platt (1999) with his target smoothing. Both
keep the order of the scores strictly, so that ranking metrics stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.arrays import pack, unpack
from noria.tasks.tabular.links import logit, sigmoid

Array = NDArray[np.float64]
FILE = "calibration.npz"
# Weight of the uncalibrated probability: it breaks the ties of flat blocks.
_TIE_BREAK = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A rising map from probability to probability: sigmoid of a line, or knots.

    ``slope`` and ``offset`` act on the log-odds when there are no knots.
    """

    knots: Array
    values: Array
    slope: float = 1.0
    offset: float = 0.0

    def apply(self, probability: Array) -> Array:
        """Return calibrated probabilities of shape (n,)."""
        if self.knots.size:
            mapped = np.interp(probability, self.knots, self.values)
        else:
            mapped = sigmoid(self.slope * logit(probability) + self.offset)
        return np.asarray(mapped + _TIE_BREAK * (probability - mapped))


@dataclass(frozen=True, slots=True, eq=False)
class Calibrator:
    """One curve for a binary model, one per class (then normalised) for more."""

    curves: tuple[Curve, ...]

    def apply(self, probability: Array) -> Array:
        """Return calibrated probabilities, (n,) or (n, k) as given."""
        if probability.ndim == 1:
            return self.curves[0].apply(probability)
        mapped = np.column_stack(
            [curve.apply(probability[:, k]) for k, curve in enumerate(self.curves)]
        )
        total = mapped.sum(axis=1, keepdims=True)
        return np.asarray(np.where(total > 0, mapped / np.maximum(total, 1e-300), probability))

    def files(self) -> dict[str, bytes]:
        """Return ``calibration.npz``."""
        arrays: dict[str, Array] = {}
        for k, curve in enumerate(self.curves):
            arrays[f"knots{k}"] = curve.knots
            arrays[f"values{k}"] = curve.values
            arrays[f"line{k}"] = np.array([curve.slope, curve.offset])
        return {FILE: pack(arrays)}


def load(files: Mapping[str, bytes]) -> Calibrator | None:
    """Return the package's calibrator, or None when it has none.

    Raises:
        IntegrityError: The file is malformed.
    """
    if FILE not in files:
        return None
    arrays = unpack(files[FILE], FILE)
    try:
        return Calibrator(
            tuple(
                Curve(
                    arrays[f"knots{k}"],
                    arrays[f"values{k}"],
                    float(arrays[f"line{k}"][0]),
                    float(arrays[f"line{k}"][1]),
                )
                for k in range(len(arrays) // 3)
            )
        )
    except (KeyError, IndexError) as error:
        raise IntegrityError(f"{FILE}: {error}") from error


def fit(method: str, probability: Array, codes: NDArray[np.int64]) -> Calibrator:
    """Fit a calibrator on held-out predictions.

    Args:
        method: ``isotonic`` or ``sigmoid``.
        probability: (n,) of the positive class, or (n, k).
        codes: (n,) classes, 0 to k - 1; 1 is the positive class of a binary model.
    """
    fit_curve = _isotonic if method == "isotonic" else _sigmoid
    if probability.ndim == 1:
        return Calibrator((fit_curve(probability, (codes == 1).astype(np.float64)),))
    return Calibrator(
        tuple(
            fit_curve(probability[:, k], (codes == k).astype(np.float64))
            for k in range(probability.shape[1])
        )
    )


def _isotonic(probability: Array, hit: Array) -> Curve:
    order = np.argsort(probability, kind="stable")
    x, y = probability[order], hit[order]
    # Equal scores are one point from the start.
    knots, first, weight = np.unique(x, return_index=True, return_counts=True)
    mean = np.add.reduceat(y, first) / weight
    centres: list[float] = []
    means: list[float] = []
    weights: list[float] = []
    for point, value, count in zip(
        knots.tolist(), mean.tolist(), weight.astype(float).tolist(), strict=True
    ):
        centres.append(point)
        means.append(value)
        weights.append(count)
        while len(means) > 1 and means[-2] >= means[-1]:
            w = weights[-2] + weights[-1]
            means[-2] = (means[-2] * weights[-2] + means[-1] * weights[-1]) / w
            centres[-2] = (centres[-2] * weights[-2] + centres[-1] * weights[-1]) / w
            weights[-2] = w
            del centres[-1], means[-1], weights[-1]
    # A block of n rows without a hit does not show that the probability is 0 (rule of
    # succession); without this, one surprise costs an infinite log loss.
    low = np.array([1.0 / (w + 2.0) for w in weights])
    values = np.clip(np.array(means), np.minimum(low, 0.5), np.maximum(1.0 - low, 0.5))
    return Curve(np.array(centres), np.maximum.accumulate(values))


def _sigmoid(probability: Array, hit: Array) -> Curve:
    """Platt scaling on the log-odds by damped Newton steps; two parameters."""
    positive = float(hit.sum())
    negative = float(hit.size) - positive
    target = np.where(hit > 0, (positive + 1.0) / (positive + 2.0), 1.0 / (negative + 2.0))
    x = np.column_stack([logit(probability, 1e-6), np.ones_like(probability)])
    theta = np.array([1.0, 0.0])

    def loss(at: Array) -> float:
        score = x @ at
        return float(np.sum(np.logaddexp(0.0, score) - target * score))

    current = loss(theta)
    for _ in range(100):
        p = sigmoid(x @ theta)
        gradient = x.T @ (p - target)
        hessian = (x * (p * (1.0 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-6 and loss(theta - size * step) > current:
            size /= 2
        theta = theta - size * step
        previous, current = current, loss(theta)
        if previous - current < 1e-10 * max(1.0, abs(previous)):
            break
    # A falling line would turn the ranking around: then the scores carry no signal.
    slope = max(float(theta[0]), 0.0)
    empty = np.zeros(0)
    return Curve(empty, empty, slope, float(theta[1]))
