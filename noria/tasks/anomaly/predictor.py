"""The predictor of a package: space, detector, threshold, and why a row alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.anomaly import ANOMALY, PREDICTION, REASONS, RESIDUAL, WEIGHTS
from noria.tasks.anomaly.calibration import Calibration, load_calibration
from noria.tasks.anomaly.detectors import Detector
from noria.tasks.anomaly.detectors.registry import load as load_detector
from noria.tasks.anomaly.residuals import ResidualPredictor, load_residuals
from noria.tasks.anomaly.space import Column, Space
from noria.tasks.anomaly.splice import spliced
from noria.tasks.anomaly.stored import ARRAYS, packed, parts_of
from noria.tasks.encoding import Columns, Encoder
from noria.tasks.package import Manifest
from noria.tasks.tabular.scorers import required

Array = NDArray[np.float64]

SPACE: Final = "space.json"
_CELLS: Final = 4_000_000
"""Numbers of the rows that are scored together to find reasons."""

_PARTS: Final = ("calibration", "detector", "typical")


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyPredictor:
    """Answers requests; see ``noria.tasks.package.Predictor`` and ``Describing``.

    ``typical`` (d,) is what a column of the encoded matrix holds in the middle of the rows: the
    median of its numbers, its most frequent code.
    """

    manifest: Manifest
    space: Space
    detector: Detector
    calibration: Calibration
    typical: Array
    _encoder: Encoder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        encoder = Encoder(self.manifest.features, self.manifest.event_time)
        object.__setattr__(self, "_encoder", encoder)

    def predict(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return the outputs of the manifest; see ``noria.tasks.package.Predictor``."""
        return self.predict_matrix(self.encode(columns))

    def predict_matrix(self, matrix: Array) -> dict[str, np.ndarray]:
        """Return the outputs for n encoded rows.

        ``prediction`` (n,), ``anomaly`` (n,), and where they are asked for ``reasons`` (n, k) and
        ``reason-weights`` (n, k): of rows that alarm, the others have none.
        """
        scores = self.score(matrix)
        alarms = self.calibration.alarms(scores)
        found: dict[str, np.ndarray] = {
            PREDICTION: self.calibration.unlikeness(scores),
            ANOMALY: alarms,
        }
        count = int(self.manifest.options["reasons"])
        if count:
            places = np.flatnonzero(alarms)
            names = np.full((len(matrix), count), "", dtype=object)
            weights = np.zeros((len(matrix), count))
            names[places], weights[places] = self.reasons(matrix[places])
            found |= {REASONS: names, WEIGHTS: weights}
        return found

    def encode(self, columns: Columns) -> Array:
        """Return the matrix of n rows; see ``Encoder.encode``."""
        return self._encoder.encode(columns)

    def score(self, matrix: Array) -> Array:
        """Return the detector's score of encoded rows, (n,)."""
        return self.detector.score(self.space.of(matrix))

    def describe(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return 1 for each row that alarms, else 0, (n,)."""
        return {ANOMALY: self.calibration.alarms(self.score(self.encode(columns))) * 1.0}

    def describe_answers(self, columns: Columns, answers: Columns) -> dict[str, np.ndarray]:  # noqa: ARG002 - the answers say it all
        """See ``noria.tasks.package.DescribingAnswers``."""
        return {ANOMALY: answers[ANOMALY] * 1.0}

    def reasons(self, rows: Array) -> tuple[np.ndarray, Array]:
        """Return the columns that raise the score of m encoded rows most, and each one's share.

        A column's part is by how much the score falls where its value is the typical one; the
        shares (m, k) are of the sum of all such falls. Where no column alone lowers the score the
        name is empty and the share 0.
        """
        features, count = self.manifest.features_read, int(self.manifest.options["reasons"])
        scores = self.score(rows)
        drops = np.zeros((len(rows), len(features)))
        step = max(1, _CELLS // max(rows.shape[1] * len(features), 1))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            asked = np.repeat(part, len(features), axis=0)
            first = 0
            for place, feature in enumerate(features):
                end = first + feature.size
                asked[place :: len(features), first:end] = self.typical[first:end]
                first = end
            without = self.score(asked).reshape(len(part), len(features))
            drops[start : start + step] = scores[start : start + step, None] - without
        drops = np.maximum(drops, 0.0)
        total = drops.sum(axis=1, keepdims=True)
        shares = np.divide(drops, total, out=np.zeros_like(drops), where=total > 0.0)
        order = np.argsort(-shares, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(shares, order, axis=1)
        names = np.array([feature.name for feature in features], dtype=object)[order]
        names[best == 0.0] = ""
        lack = ((0, 0), (0, count - order.shape[1]))
        return np.pad(names, lack, constant_values=""), np.pad(best, lack)

    def twins(self, matrix: Array, seed: int) -> Array:
        """Return each of n rows with half of its columns from another, (n, d)."""
        return spliced(matrix, seed)

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        parts = {
            "calibration": self.calibration.arrays(),
            "detector": self.detector.arrays(),
            "typical": {"row": self.typical},
        }
        said = msgspec.json.format(msgspec.json.encode(self.space.columns), indent=2)
        return {SPACE: said, ARRAYS: packed(parts)}


Anomalous: TypeAlias = AnomalyPredictor | ResidualPredictor


def load(manifest: Manifest, files: Mapping[str, bytes]) -> Anomalous:
    """Build the predictor from a package's checked files.

    Raises:
        IntegrityError: A file is missing or malformed.
    """
    if manifest.algorithm == RESIDUAL:
        return load_residuals(manifest, files)
    try:
        columns = msgspec.json.decode(required(files, SPACE), type=tuple[Column, ...])
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{SPACE}: {error}", fix="train again") from error
    parts = parts_of(files, _PARTS)
    try:
        return AnomalyPredictor(
            manifest,
            Space(columns),
            load_detector(manifest.algorithm, parts["detector"]),
            load_calibration(parts["calibration"]),
            parts["typical"]["row"],
        )
    except KeyError as error:
        raise IntegrityError(f"{ARRAYS}: {error} is missing", fix="train again") from error
