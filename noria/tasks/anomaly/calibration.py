"""From a detector's score to how unlike the others a row is, and to an alarm.

Split conformal prediction: of n rows that the detector was not fitted on, the p-value of a row is
(1 + those that score no less) / (n + 1) (Vovk, Gammerman and Shafer, Algorithmic Learning in a
Random World, 2005; of outliers Laxhammar and Falkman, 2011, and Bates and others, Annals of
Statistics 51, 2023). A row alarms whose p-value is at most the asked rate. Where it is exchangeable
with the n rows that happens with a probability of at most that rate, whatever the detector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.errors import DataError

Array = NDArray[np.float64]


def rows_for(rate: float) -> int:
    """Return how many calibration rows an alarm rate needs: with fewer, no row could alarm."""
    return math.ceil(1.0 / rate - 1e-9) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The calibration rows' scores.

    Attributes:
        scores: (u,) their different values, rising.
        above: (u,) how many rows score no less than each.
        limit: A row alarms that scores more.
    """

    scores: Array
    above: NDArray[np.int64]
    limit: float

    @classmethod
    def of(cls, scores: Array, rate: float) -> Calibration:
        """Return the calibration by n scores for an alarm rate.

        Raises:
            DataError: There are too few for that rate.
        """
        rows, needed = scores.size, rows_for(rate)
        if rows < needed:
            raise DataError(
                f"spec.task.options.alarmRate: {rate:g} needs {needed} calibration rows, and there "
                f"are {rows}",
                fix=f"give more rows, raise calibrationShare, or ask for "
                f"{math.ceil(1e4 / (rows + 1)) / 1e4:g} or more",
            )
        values, counts = np.unique(scores, return_counts=True)
        above = np.cumsum(counts[::-1])[::-1]
        allowed = int(rate * (rows + 1) + 1e-9)
        return cls(values, above.astype(np.int64), float(np.sort(scores)[rows - allowed]))

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.above[0])

    @property
    def threshold(self) -> float:
        """The limit as a prediction: a row alarms whose prediction is greater."""
        return float(self.unlikeness(np.array([self.limit]))[0])

    def p_values(self, scores: Array) -> Array:
        """Return the conformal p-value of each of m scores, (m,)."""
        place = np.searchsorted(self.scores, scores, side="left")
        above = np.append(self.above, 0)
        return np.asarray((1.0 + above[place]) / (self.rows + 1.0))

    def alarms(self, scores: Array) -> NDArray[np.bool_]:
        """Say of each of m scores whether its p-value is at most the asked rate, (m,)."""
        return np.asarray(scores > self.limit)

    def unlikeness(self, scores: Array) -> Array:
        """Return the share of calibration rows that are less anomalous, (m,), 0 to 1.

        It rises strictly with the score: between two calibration scores by a line, and beyond the
        greatest by what is left up to 1, so that ranks among alarms are not lost.
        """
        low, high = self.scores[0], self.scores[-1]
        rest = 1.0 / (self.rows + 1.0)
        inside = 1.0 - np.interp(scores, self.scores, self.above * rest)
        unit = float(high - np.interp(0.5, inside_of(self), self.scores)) or 1.0
        with np.errstate(over="ignore"):
            beyond = np.maximum(scores - high, 0.0) / unit
            below = np.maximum(low - scores, 0.0) / unit
        above = inside + rest * beyond / (1.0 + beyond)
        return np.asarray(above - rest * below / (1.0 + below))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its numbers, for the package."""
        return {"scores": self.scores, "above": self.above, "limit": np.array(self.limit)}


def inside_of(calibration: Calibration) -> Array:
    """Return the share of rows below each calibration score, (u,), rising."""
    return np.asarray(1.0 - calibration.above / (calibration.rows + 1.0))


def load_calibration(arrays: Mapping[str, NDArray[Any]]) -> Calibration:
    """Return the calibration that ``arrays`` describes."""
    return Calibration(arrays["scores"], arrays["above"], float(arrays["limit"]))
