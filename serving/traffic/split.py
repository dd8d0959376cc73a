"""A split of the traffic as whole percents by version: checked the same by every driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from noria.errors import TrafficError

FULL: Final = 100


def check_split(model: str, weights: Mapping[str, int]) -> dict[str, int]:
    """Return the versions that get something.

    Raises:
        TrafficError: A weight is no whole percent, or they don't sum to 100.
    """
    for version, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= FULL:
            raise TrafficError(
                f"{model}: the weight of version {version} is {weight!r}",
                fix="give whole percents from 0 to 100",
            )
    if sum(weights.values()) != FULL:
        raise TrafficError(
            f"{model}: the weights {dict(weights)} sum to {sum(weights.values())}",
            fix="give percents that sum to 100",
        )
    return {version: weight for version, weight in weights.items() if weight}
