"""Several detectors as one: a row is as strange as the one to whom it is strangest says.

Each one's score counts from its median on the rows that it was fitted on, in units of the way from
there to the score that a twentieth of them exceed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Detector


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """``centre`` and ``unit`` (m,) of the members' scores."""

    members: Mapping[str, Detector]
    centre: Array
    unit: Array

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``."""
        scores = np.column_stack([one.score(rows) for one in self.members.values()])
        found: Array = ((scores - self.centre) / self.unit).max(axis=1)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``; a member's under its name."""
        found = {
            f"{name}/{key}": values
            for name, one in self.members.items()
            for key, values in one.arrays().items()
        }
        return {**found, "centre": self.centre, "unit": self.unit}
