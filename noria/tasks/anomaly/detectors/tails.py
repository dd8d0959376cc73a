"""ECOD: how far out in the tails of the columns a row is, each column for itself.

Li and others, IEEE Transactions on Knowledge and Data Engineering 35 (2023): of each column the
negative logarithm of the share of rows that lie no less far out. Of the two ends the rarer one
counts, column by column, as in the authors' own library. The shares are of the rows that were
fitted on and the row itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Arrays

KEPT: Final = 10_000
"""Values of a column that are kept at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """``values`` (m, w) are the columns' sorted values."""

    kept: Arrays

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``."""
        values = self.kept["values"]
        count = values.shape[0] + 1.0
        found = np.zeros(len(rows))
        for known, column in zip(values.T, rows.T, strict=True):
            low = np.searchsorted(known, column, side="right") + 1.0
            high = count - np.searchsorted(known, column, side="left")
            found -= np.log(np.minimum(low, high) / count)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


def fit(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> Tails:
    """Keep the columns' values, of at most ``KEPT`` rows."""
    del params, threads
    if len(rows) > KEPT:
        rows = rows[np.random.default_rng(seed).choice(len(rows), KEPT, replace=False)]
    return Tails({"values": np.sort(rows, axis=0)})
