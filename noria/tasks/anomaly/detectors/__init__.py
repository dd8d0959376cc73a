"""Detectors once their library is gone: arrays, and a score of rows; greater is more anomalous.

A detector is built from its arrays, also right after training, so that the one that is evaluated is
the one that will be served. scikit-learn fits; numpy alone scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


class Detector(Protocol):
    """A fitted detector. Thread-safe."""

    def score(self, rows: Array) -> Array:
        """Return the score of n rows (n, w) on one scale, (n,), finite; greater is stranger."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is made of."""
        ...
