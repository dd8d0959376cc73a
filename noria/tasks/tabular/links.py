"""From raw scores to probabilities, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sigmoid(scores: Array) -> Array:
    """Return 1 / (1 + exp(-s)) without overflow, for any shape."""
    e = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0, e) / (1.0 + e)


def softmax(scores: Array) -> Array:
    """Return the row-wise softmax of (n, k) scores."""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def logit(probabilities: Array, clip: float = 1e-12) -> Array:
    """Return the log-odds; probabilities are kept ``clip`` away from 0 and 1."""
    p = np.clip(probabilities, clip, 1.0 - clip)
    return np.log(p) - np.log1p(-p)
