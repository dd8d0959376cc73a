"""Several detectors as one: the mean of their scores, each in units of its own spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Detector


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """``centre`` and ``unit`` (m,) of the members' scores on the rows that they were fitted on."""

    members: Mapping[str, Detector]
    centre: Array
    unit: Array

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``."""
        scores = np.column_stack([one.score(rows) for one in self.members.values()])
        found: Array = ((scores - self.centre) / self.unit).mean(axis=1)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``; a member's under its name."""
        found = {
            f"{name}/{key}": values
            for name, one in self.members.items()
            for key, values in one.arrays().items()
        }
        return {**found, "centre": self.centre, "unit": self.unit}
