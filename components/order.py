"""What one fit on nodes is ordered with; a JSON file beside its rows."""

from __future__ import annotations

from typing import Any

import msgspec


class Order(msgspec.Struct, frozen=True):
    """Hyperparameters, and the recipe: its half-life as a share of the rows, and its rounds."""

    params: dict[str, Any]
    half_life: float | None = None
    rounds: float = 1.0
