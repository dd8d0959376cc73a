"""How often a monitor may be wrong, over time.

A test at level 0.05 per window alarms with probability 0.7 within 24 windows
without any drift. So the probability of a false alarm is a budget over a
horizon of windows, spent like the alpha of a trial with interim looks (Lan and
DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70,
1983): every detector in every window gets a fixed part, the parts of any
horizon of consecutive windows add up to the budget, and by the union bound
(Boole) the probability of any false alarm in it is at most their sum. Nothing
has to be independent: not the windows, which share one reference, nor the
detectors, which share the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from noria.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class FalseAlarmBudget:
    """At most ``probability`` of one or more false alarms in any ``horizon`` windows."""

    probability: float
    horizon: int

    def __post_init__(self) -> None:
        if not 0.0 < self.probability < 1.0:
            raise InvalidInput(
                f"falseAlarmBudget.probability: {self.probability} is not between 0 and 1"
            )
        if self.horizon < 1:
            raise InvalidInput(f"falseAlarmBudget.horizon: {self.horizon} windows is not positive")

    def shares(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Return the level of each detector in each window, in proportion to its weight.

        Raises:
            InvalidInput: a weight is not positive.
        """
        refused = [name for name, weight in weights.items() if weight <= 0]
        if refused:
            raise InvalidInput(
                f"detector {refused[0]!r}: options.weight: {weights[refused[0]]} is not positive"
            )
        total = sum(weights.values())
        per_window = self.probability / self.horizon
        return {name: per_window * weight / total for name, weight in weights.items()}
