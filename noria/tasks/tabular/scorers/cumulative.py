"""Ordered classes by a model of each step of the order: Frank and Hall's.

"A Simple Approach to Ordinal Classification" (ECML 2001): of k classes the j-th model says how
probable a class above the j-th is, and a class is as probable as two neighbours differ. A row that
is more probably above one step than above the one before it has the lower of both, and would be
certain not to be of the class between: so the shares of the classes are mixed in a little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.tabular.links import sigmoid
from noria.tasks.tabular.scorers import Scorer, load_scorer, required

Array = NDArray[np.float64]
_FILE = "cumulative.json"
_LEAST = 1e-15


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    algorithm: str
    shares: tuple[float, ...]
    mixed: float


@dataclass(frozen=True, slots=True, eq=False)
class CumulativeScorer:
    """Scorers (n, 1) of the log-odds of each step, all of one algorithm.

    ``shares`` (k,) are those of the classes, of which probabilities are ``mixed`` so much, 0 to 1.
    """

    algorithm: str
    shares: tuple[float, ...]
    mixed: float
    steps: tuple[Scorer, ...]

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) logarithms of probabilities."""
        above = np.column_stack([sigmoid(step.raw(matrix)[:, 0]) for step in self.steps])
        above = np.minimum.accumulate(above, axis=1)
        edge = np.ones((len(above), 1))
        each = np.hstack([edge, above]) - np.hstack([above, 0.0 * edge])
        each = (1.0 - self.mixed) * each + self.mixed * np.array(self.shares)
        return np.asarray(np.log(np.maximum(each, _LEAST)))

    def files(self) -> dict[str, bytes]:
        """Return the files of the steps in folders of their own, and what they are of."""
        files = {_FILE: msgspec.json.encode(_Said(self.algorithm, self.shares, self.mixed))}
        for place, step in enumerate(self.steps):
            files.update({f"{_folder(place)}{p}": c for p, c in step.files().items()})
        return files


def load(files: Mapping[str, bytes], prefix: str = "") -> CumulativeScorer:
    """Build the scorer.

    Raises:
        IntegrityError: A file is missing or malformed.
    """
    try:
        found = msgspec.json.decode(required(files, prefix + _FILE), type=_Said)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{prefix + _FILE}: {error}", fix="train again") from error
    return CumulativeScorer(
        found.algorithm,
        found.shares,
        found.mixed,
        tuple(
            load_scorer(found.algorithm, files, prefix + _folder(place))
            for place in range(len(found.shares) - 1)
        ),
    )


def _folder(place: int) -> str:
    return f"step-{place}/"
