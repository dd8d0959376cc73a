"""The family ``anomaly-detection``: which rows are unlike the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

AUTO: Final = "auto"

MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "isolation-forest": ("n_estimators",),
    "knn": ("n_neighbors",),
}
"""What ``auto`` asks, and which of its hyperparameters are whose."""

ALIBI: Final = "alibi/"
"""Before the name of a detector that Alibi Detect fits, where packages and code tell it apart."""

BACKENDS: Final[Mapping[str, str]] = {"native": "", "alibi": ALIBI}
"""What is before the name of a detector, by the option ``backend``."""

PREDICTION: Final = "prediction"
"""Output: how unlike the others a row is, 0 to 1."""

ANOMALY: Final = "anomaly"
"""Output: whether the row alarms. Also the descriptor that the monitor has the share of alarms by.
"""

REASONS: Final = "reasons"
"""Output: the columns that make an alarm, the strongest first."""

WEIGHTS: Final = "reason-weights"
"""Output: the share of each of them in it."""

RESIDUAL: Final = "residual"
"""The algorithm that holds a value against the past of its own series."""

HISTORY: Final = "history"
"""Input: the values of the series before it."""

EXPECTED: Final = "expected"
"""Output: the value that the past lets expect."""

LOWER: Final = "lower"
UPPER: Final = "upper"
"""Outputs: a value between them does not alarm."""
