"""Fitting linear models: L2-penalised logistic, softmax and least squares, by L-BFGS.

The matrix stays small: numbers are standardised, and each category's weight is
looked up and its gradient summed by code instead of by one-hot columns. The
objective is scikit-learn's (``C`` for classes, ``alpha`` for values), so are
its defaults. Every feature has a weight for its missing value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noria.errors import TrainingError
from noria.tasks.tabular.links import sigmoid, softmax
from noria.tasks.tabular.scorers.linear import LinearScorer

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Design:
    """Standardised numbers (n, p), what is missing (n, p), slots of categories (n, c).

    ``missing`` is None where no number is: sums over it are 0.
    """

    numbers: Array
    missing: Array | None
    slots: Places
    slot_count: int

    def scores(self, theta: Array) -> Array:
        """Return (n, k) scores for weights (p + p + slots + 1, k)."""
        p = self.numbers.shape[1]
        out = self.numbers @ theta[:p]
        if self.missing is not None:
            out += self.missing @ theta[p : 2 * p]
        out += theta[-1]
        table = theta[2 * p : -1]
        for j in range(self.slots.shape[1]):
            out += table[self.slots[:, j]]
        return np.asarray(out)

    def gradient(self, residual: Array) -> Array:
        """Return the scores' transposed Jacobian times (n, k) residuals."""
        table = np.zeros((self.slot_count, residual.shape[1]))
        for j in range(self.slots.shape[1]):
            for k in range(residual.shape[1]):
                table[:, k] += np.bincount(
                    self.slots[:, j], weights=residual[:, k], minlength=self.slot_count
                )
        numbers = self.numbers.T @ residual
        return np.vstack(
            [
                numbers,
                np.zeros_like(numbers) if self.missing is None else self.missing.T @ residual,
                table,
                residual.sum(axis=0, keepdims=True),
            ]
        )


def fit_linear(
    matrix: Array,
    target: Array,
    weight: Array | None,
    classes: int,
    categories: tuple[int, ...],
    *,
    strength: float = 1.0,
    monotone: tuple[int, ...] = (),
    max_iter: int = 500,
    tol: float = 1e-6,
) -> LinearScorer:
    """Fit a linear scorer.

    Args:
        matrix: (n, d) encoded rows.
        target: (n,) class codes, or values.
        weight: (n,) weights of the rows, or None for equal ones.
        classes: Number of classes; 0 for a regression.
        categories: Per column, the number of categories; 0 for a number.
        strength: ``1 / C`` or ``alpha``: weight of the squared L2 norm.
        monotone: Per column, 1 or -1 where its weight may not be under, or over, 0; empty: none.
            Only of a regression or two classes.
        max_iter: Greatest number of L-BFGS iterations.
        tol: Gradient per row at which it stops.

    Raises:
        TrainingError: The optimum was not found: a loss that is not a number.
    """
    from scipy.optimize import minimize

    numeric = np.array([j for j, size in enumerate(categories) if not size], dtype=np.int64)
    categorical = np.array([j for j, size in enumerate(categories) if size], dtype=np.int64)
    design, mean, scale, starts, absent = _design(matrix, numeric, categorical, categories)
    rows = matrix.shape[0]
    weights = np.ones(rows) if weight is None else weight
    total = float(weights.sum())
    outputs = classes if classes > 2 else 1
    centre, spread = 0.0, 1.0
    if not classes:
        centre = float(np.average(target, weights=weights))
        spread = float(np.sqrt(np.average((target - centre) ** 2, weights=weights))) or 1.0
    goal = np.eye(classes)[target.astype(np.int64)] if classes > 2 else target[:, None]
    goal = (goal - centre) / spread
    size = 2 * numeric.size + design.slot_count + 1

    def objective(flat: Array) -> tuple[float, Array]:
        theta = flat.reshape(size, outputs)
        scores = design.scores(theta)
        if not classes:
            residual = scores - goal
            loss = 0.5 * float(weights @ (residual**2)[:, 0])
        elif outputs == 1:
            residual = sigmoid(scores) - goal
            loss = float(weights @ (np.logaddexp(0.0, scores) - goal * scores)[:, 0])
        else:
            residual = softmax(scores) - goal
            top = scores.max(axis=1)
            norm = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
            loss = float(weights @ (norm - (goal * scores).sum(axis=1)))
        penalty = theta.copy()
        penalty[-1] = 0.0
        loss += 0.5 * strength * float((penalty**2).sum())
        gradient = design.gradient(residual * weights[:, None]) + strength * penalty
        return loss / total, (gradient / total).ravel()

    found = minimize(
        objective,
        np.zeros(size * outputs),
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(monotone, numeric, size * outputs),
        options={"maxiter": max_iter, "gtol": tol, "ftol": 1e-14, "maxcor": 20},
    )
    if not np.isfinite(found.fun) or not np.isfinite(found.x).all():
        raise TrainingError("the linear model's loss is not a number", fix="check the features")
    theta = found.x.reshape(size, outputs) * spread
    p = numeric.size
    weights_raw = theta[:p] / scale[:, None]
    shift = mean[:, None] * weights_raw
    return LinearScorer(
        numeric=numeric,
        categorical=categorical,
        weights=weights_raw,
        missing=theta[p : 2 * p] + shift,
        table=np.ascontiguousarray(theta[2 * p : -1]),
        starts=starts,
        absent=absent,
        intercept=theta[-1] + centre - shift.sum(axis=0),
    )


def _bounds(
    monotone: tuple[int, ...], numeric: Places, size: int
) -> list[tuple[float | None, float | None]] | None:
    """Return the limits of each weight, the numbers' first; None where there is none."""
    if not any(monotone):
        return None
    limits = {1: (0.0, None), -1: (None, 0.0), 0: (None, None)}
    of_numbers = [limits[monotone[place]] for place in numeric]
    return [*of_numbers, *[limits[0]] * (size - len(of_numbers))]


def _design(
    matrix: Array, numeric: Places, categorical: Places, categories: tuple[int, ...]
) -> tuple[_Design, Array, Array, Places, Places]:
    # In place where it can be: of a large matrix each copy is most of the memory.
    numbers = matrix[:, numeric]
    missing = np.isnan(numbers)
    gappy = bool(missing.any())
    count = np.maximum((~missing).sum(axis=0), 1)
    if gappy:
        numbers[missing] = 0.0
    mean = numbers.sum(axis=0) / count
    numbers -= mean
    if gappy:
        numbers[missing] = 0.0
    scale = np.sqrt(np.array([(column**2).sum() for column in numbers.T]) / count)
    constant = scale <= 1e-12 * np.maximum(1.0, np.abs(mean))
    scale = np.where(constant, 1.0, scale)
    numbers[:, constant] = 0.0
    numbers /= scale
    # One more slot per feature, for its missing value.
    sizes = np.array([categories[j] + 1 for j in categorical], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)[: sizes.size]
    absent = starts + sizes - 1
    codes = matrix[:, categorical]
    slots = np.where(np.isnan(codes), absent, codes + starts).astype(np.int64)
    absences = missing.astype(np.float64) if gappy else None
    design = _Design(numbers, absences, slots, int(sizes.sum()))
    return design, mean, scale, starts, absent
