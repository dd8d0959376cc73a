"""What versions say about the rows of a history, asked in blocks and only when they serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from noria.errors import NoriaError
from noria.tasks.package import Manifest, load_predictor
from noria.tasks.sources.rows import moments
from noria.tasks.sources.typed import read_as
from noria.values.columns import ROLES, Role

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]

_BLOCK: Final = 8192
_ROLES: Final[Mapping[str, Role]] = {**ROLES, "boolean": "number"}


def columns_of(manifest: Manifest, frame: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """Return the columns that a model reads, as its predictor takes them.

    Raises:
        DataError: A column can't be read.
    """
    kinds = {item.name: item.kind for item in manifest.inputs if not item.optional}
    kinds |= {item.name: item.kind for item in manifest.features if item.origin == "lookup"}
    return {
        name: moments(frame, name) if kind == "timestamp" else read_as(frame[name], _ROLES[kind])
        for name, kind in kinds.items()
    }


class Answers:
    """The predictions of one version for ``n`` rows; NaN where it can't answer.

    A prediction is one number a row, (n,), or one per class, (n, k).
    """

    def __init__(self, package: Path, frame: pd.DataFrame) -> None:
        self._predictor = load_predictor(package)
        self._frame = frame
        self._said: Floats | None = None
        self._asked = np.zeros(len(frame), dtype=bool)

    @property
    def manifest(self) -> Manifest:
        """What the package says of itself."""
        return self._predictor.manifest

    def of(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Return what it says about some rows, by their places (rising)."""
        while not self._asked[rows].all():
            first = int(rows[~self._asked[rows]][0])
            part = np.arange(first, min(first + _BLOCK, len(self._asked)))
            self._fill(part[~self._asked[part]])
        if self._said is None:
            return np.empty(0)
        return self._said[rows]

    def _fill(self, rows: npt.NDArray[np.int64]) -> None:
        found = self._predict(rows)
        if self._said is None:
            self._said = np.full((len(self._asked), *found.shape[1:]), np.nan)
        self._said[rows] = found
        self._asked[rows] = True

    def _predict(self, rows: npt.NDArray[np.int64]) -> Floats:
        try:
            outputs = self._predictor.predict(columns_of(self.manifest, self._frame.iloc[rows]))
        except NoriaError:
            width = len(self.manifest.classes)
            if len(rows) == 1:
                return np.full((1, width) if width > 2 else 1, np.nan)
            # One row that can't be answered must not take the others with it.
            half = len(rows) // 2
            return np.concatenate([self._predict(rows[:half]), self._predict(rows[half:])])
        name = next((n for n in ("probability", "prediction") if n in outputs), next(iter(outputs)))
        return outputs[name].astype(np.float64)
