"""Intervals of a regression that hold the value as often as they say.

Conformalised quantile regression (Romano, Patterson and Candes, NeurIPS 2019): the algorithm is
fitted to a low and a high quantile on a part of the training rows, and what the other part lies
outside by says how far both ends are moved. A linear model, and several together, have no quantiles
here: the prediction is widened by its own held-out errors, the same everywhere (split conformal
prediction: Lei and others, Journal of the American Statistical Association 113, 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import DataError, IntegrityError
from noria.measures.catalog import OwnMetric
from noria.measures.measurement import Measurement
from noria.measures.measuring import measure
from noria.tasks.tabular import derived, levels
from noria.tasks.tabular.scorers import Scorer, load_scorer

Array = NDArray[np.float64]

HELD: Final = 0.2
"""Share of the training rows that says how far the ends are moved."""
ENDS: Final = ("lower", "upper")
_FILE: Final = "intervals.json"

_QUANTILE: Final[Mapping[str, Callable[[float], Mapping[str, Any]]]] = {
    "lightgbm": lambda share: {"objective": "quantile", "alpha": share},
    "hist-gradient-boosting": lambda share: {"loss": "quantile", "quantile": share},
    "xgboost": lambda share: {"objective": "reg:quantileerror", "quantile_alpha": share},
}


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """The interval of one level, in percent: scorers of its ends, and how far they are moved.

    Without scorers the prediction itself is what both ends are moved from.
    """

    level: int
    margin: float
    scorers: tuple[Scorer, ...] = ()

    def ends(self, matrix: Array, prediction: Array) -> tuple[Array, Array]:
        """Return both ends (n,)."""
        low = high = prediction
        if self.scorers:
            low, high = (scorer.raw(matrix)[:, 0] for scorer in self.scorers)
        return low - self.margin, high + self.margin


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """The intervals of a model; ``algorithm`` is that of the scorers, empty where there is none."""

    algorithm: str = ""
    bands: tuple[Band, ...] = ()

    def outputs(self, matrix: Array, prediction: Array) -> dict[str, Array]:
        """Return ``lower-80``, ``upper-80`` and so on of n rows, (n,) each.

        An interval holds those of lower levels: each is made on its own, and their ends may cross.
        """
        if not self.bands:
            return {}
        found: dict[str, Array] = {}
        inner = (prediction, prediction)
        for band in sorted(self.bands, key=lambda one: one.level):
            low, high = band.ends(matrix, prediction)
            inner = np.minimum(low, inner[0]), np.maximum(high, inner[1])
            found |= {f"{end}-{band.level}": one for end, one in zip(ENDS, inner, strict=True)}
        return {
            f"{end}-{band.level}": found[f"{end}-{band.level}"]
            for band in self.bands
            for end in ENDS
        }

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        if not self.bands:
            return {}
        margins = {str(band.level): band.margin for band in self.bands}
        said = {"algorithm": self.algorithm, "margins": margins}
        files = {_FILE: msgspec.json.encode(said)}
        for band in self.bands:
            for end, scorer in zip(ENDS, band.scorers, strict=False):
                for path, content in scorer.files().items():
                    files[f"{_folder(band.level, end)}{path}"] = content
        return files


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    algorithm: str
    margins: dict[int, float]


def load(files: Mapping[str, bytes]) -> Intervals:
    """Build the intervals from a package's files; none where it has none.

    Raises:
        IntegrityError: A file is missing or malformed.
        NotInstalled: The algorithm's library is not installed.
    """
    if _FILE not in files:
        return Intervals()
    try:
        said = msgspec.json.decode(files[_FILE], type=_Said)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{_FILE}: {error}", fix="train again") from error
    return Intervals(
        said.algorithm,
        tuple(
            Band(
                level,
                margin,
                tuple(_scorer(said.algorithm, files, _folder(level, end)) for end in ENDS)
                if said.algorithm
                else (),
            )
            for level, margin in said.margins.items()
        ),
    )


def _scorer(algorithm: str, files: Mapping[str, bytes], folder: str) -> Scorer:
    wide = levels.load(files, load_scorer(algorithm, files, folder), folder)
    return derived.load(files, wide, folder)


def quantiles_of(algorithm: str, params: Mapping[str, Any], level: int) -> list[dict[str, Any]]:
    """Return the hyperparameters of both ends of a level; none where it fits no quantiles."""
    if algorithm not in _QUANTILE:
        return []
    tail = (100 - level) / 200
    return [{**params, **_QUANTILE[algorithm](share)} for share in (tail, 1.0 - tail)]


def margin_of(beyond: Array, level: int) -> float:
    """Return how far the ends are moved so that they hold the next value with this probability.

    Of n held-out rows it is the one of rank ceil((n + 1) level): if they and the next are
    exchangeable, the interval holds it with a probability of at least the level and, without
    ties, at most 1 / (n + 1) more.

    Args:
        beyond: (n,) how far each value lies outside the interval; under 0 it is inside.
        level: In percent.

    Raises:
        DataError: There are too few rows for the level.
    """
    rank = math.ceil((beyond.size + 1) * level / 100 - 1e-9)
    if rank > beyond.size:
        needed = math.ceil(level / (100 - level))
        raise DataError(
            f"spec.task.options.levels: {level} needs {needed} rows that are held out of the fit "
            f"of its interval, and {beyond.size} are",
            fix="give more rows, or a lower level",
        )
    return float(np.sort(beyond)[rank - 1])


def _inside(truth: Array, _: Array) -> Array:
    return truth


COVERAGE: Final = OwnMetric(
    "coverage",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    about="share of the values that lay in the interval",
    per_sample=_inside,
)
WIDTH: Final = OwnMetric(
    "width",
    greater_is_better=False,
    low=0.0,
    about="mean width of the interval, in the target's unit",
    per_sample=_inside,
)


def measured(truth: Array, said: Mapping[str, Array], level: int) -> dict[str, Measurement]:
    """Return how often the interval of a level held n values, and how wide it was."""
    low, high = (said[f"{end}-{level}"] for end in ENDS)
    inside = ((truth >= low) & (truth <= high)).astype(np.float64)
    width = high - low
    return {
        f"coverage-{level}": measure(COVERAGE, inside, inside),
        f"width-{level}": measure(WIDTH, width, width),
    }


def _folder(level: int, end: str) -> str:
    return f"interval-{level}/{end}/"
