"""Detectors once their library is gone: arrays, and a score of rows; greater is more anomalous.

A detector is built from its arrays, also right after training, so that the one that is evaluated is
the one that will be served. scikit-learn fits; numpy alone scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Rows as a detector sees them: (n, w) on one scale, and (n, r) as distances are measured."""

    wide: Array
    reduced: Array

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.wide)

    def take(self, places: NDArray[Any] | slice) -> Seen:
        """Return some of the rows."""
        return Seen(self.wide[places], self.reduced[places])


class Detector(Protocol):
    """A fitted detector. Thread-safe."""

    def score(self, rows: Seen) -> Array:
        """Return the score of n rows, (n,), finite; greater is more anomalous."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is made of."""
        ...
