"""The predictor of values of series: what was to be expected, and how far a value is from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput
from noria.tasks.anomaly import ANOMALY, EXPECTED, HISTORY, LOWER, PREDICTION, UPPER
from noria.tasks.anomaly.calibration import Calibration, load_calibration
from noria.tasks.anomaly.detectors import registry
from noria.tasks.anomaly.detectors.residual import Residual, apart
from noria.tasks.anomaly.splice import spliced
from noria.tasks.anomaly.stored import ARRAYS, packed, parts_of
from noria.tasks.encoding import Columns, Encoder
from noria.tasks.package import Manifest
from noria.values.vectors import aligned

Array = NDArray[np.float64]

LEAST: Final = "leastHistory"
"""The manifest's option that says how many values a history has at least."""


@dataclass(frozen=True, slots=True, eq=False)
class ResidualPredictor:
    """Answers requests; see ``noria.tasks.package.Predictor`` and ``Describing``.

    A row of its matrix is a value and the ``history`` values before it, the newest last.
    """

    manifest: Manifest
    detector: Residual
    calibration: Calibration
    _encoder: Encoder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_encoder", Encoder(self.manifest.features, None))

    def predict(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return the outputs of the manifest; see ``noria.tasks.package.Predictor``.

        Raises:
            InvalidInput: A value is missing, or too few are known before it.
        """
        return self.predict_matrix(self.encode(columns))

    def predict_matrix(self, matrix: Array) -> dict[str, np.ndarray]:
        """Return the outputs for n rows, (n,) each; outside of ``lower`` to ``upper`` one alarms.

        Args:
            matrix: (n, 1 + L).
        """
        expected, spread = self.detector.expected(matrix[:, 1:])
        scores = apart(matrix[:, 0], expected, spread)
        room = self.calibration.limit * spread
        return {
            PREDICTION: self.calibration.unlikeness(scores),
            ANOMALY: self.calibration.alarms(scores),
            EXPECTED: expected,
            LOWER: expected - room,
            UPPER: expected + room,
        }

    def encode(self, columns: Columns) -> Array:
        """Return the matrix of n rows, (n, 1 + L).

        Raises:
            InvalidInput: See ``predict``.
        """
        value = self._encoder.encode(columns)
        options, name = self.manifest.options, self.manifest.features_read[0].name
        given = columns.get(HISTORY)
        if given is None:
            raise InvalidInput(f"{HISTORY}: is missing", fix=f"send the values before {name}")
        matrix = np.hstack([value, aligned(given, int(options[HISTORY]))])
        for row in np.flatnonzero(np.isnan(matrix[:, 0])):
            raise InvalidInput(f"{name}[{row}]: is missing", fix="send the value that is judged")
        known, least = (~np.isnan(matrix[:, 1:])).sum(axis=1), int(options[LEAST])
        for row in np.flatnonzero(known < least):
            raise InvalidInput(
                f"{HISTORY}[{row}]: holds {known[row]} values, and {least} are needed",
                fix=f"send up to {options[HISTORY]} values before {name}, the newest last",
            )
        return matrix

    def score(self, matrix: Array) -> Array:
        """Return the detector's score of n rows, (n,)."""
        return self.detector.score(matrix)

    def twins(self, matrix: Array, seed: int) -> Array:
        """Return for each of n rows its value after another's past, or another's after its own."""
        own = np.arange(len(matrix), dtype=np.float64)
        value, past = spliced(np.column_stack([own, own]), seed).astype(np.int64).T
        return np.hstack([matrix[value, :1], matrix[past, 1:]])

    def describe(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return 1 for each row that alarms, else 0, (n,)."""
        return {ANOMALY: self.calibration.alarms(self.score(self.encode(columns))) * 1.0}

    def describe_answers(self, columns: Columns, answers: Columns) -> dict[str, np.ndarray]:  # noqa: ARG002 - the answers say it all
        """See ``noria.tasks.package.DescribingAnswers``."""
        return {ANOMALY: answers[ANOMALY] * 1.0}

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        parts = {"calibration": self.calibration.arrays(), "detector": self.detector.arrays()}
        return {ARRAYS: packed(parts)}


def load_residuals(manifest: Manifest, files: Mapping[str, bytes]) -> ResidualPredictor:
    """Build the predictor from a package's checked files.

    Raises:
        IntegrityError: A file is missing or malformed.
    """
    parts = parts_of(files, ("calibration", "detector"))
    detector = registry.load(manifest.algorithm, parts["detector"])
    if not isinstance(detector, Residual):
        raise IntegrityError(f"{manifest.algorithm} is no detector of series", fix="train again")
    try:
        return ResidualPredictor(manifest, detector, load_calibration(parts["calibration"]))
    except KeyError as error:
        raise IntegrityError(f"{ARRAYS}: {error} is missing", fix="train again") from error
