"""The predictor of a tabular package: encode, score, link, calibrate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.encoding import Columns, Encoder, described
from noria.tasks.package import Feature, Manifest
from noria.tasks.tabular import calibration, derived, intervals, levels, texts
from noria.tasks.tabular.intervals import Intervals
from noria.tasks.tabular.links import sigmoid, softmax
from noria.tasks.tabular.scorers import Scorer, load_scorer
from noria.tasks.tabular.texts import TextReader

Array = NDArray[np.float64]
RARER_FILE: Final = "rarer-levels.json"
"""By feature, the categories that the manifest's table has no room for, in the order of codes."""


@dataclass(frozen=True, slots=True, eq=False)
class TabularPredictor:
    """A tabular model that can be asked. Holds no state between calls; thread-safe."""

    manifest: Manifest
    scorer: Scorer
    calibrator: calibration.Calibrator | None = None
    readers: Mapping[str, TextReader] = field(default_factory=dict)
    intervals: Intervals = field(default_factory=Intervals)
    rarer: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _encoder: Encoder = field(init=False, repr=False)
    _classes: np.ndarray = field(init=False, repr=False)
    _moments: tuple[Feature, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        encoder = Encoder(
            self.manifest.features, self.manifest.event_time, self.readers, self.rarer
        )
        object.__setattr__(self, "_encoder", encoder)
        object.__setattr__(self, "_classes", np.array(self.manifest.classes))
        moments = tuple(one for one in self.manifest.features if one.kind == "timestamp")
        object.__setattr__(self, "_moments", moments)

    def predict(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return the outputs of the manifest; see ``noria.tasks.package.Predictor``.

        Classification: ``probability`` (n,) of the positive class for two
        classes, else (n, k), and ``label`` (n,). Regression: ``prediction`` (n,), and both ends
        of each interval.
        """
        return self.predict_matrix(self._encoder.encode(columns))

    def describe(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return the days that moments were before their event; see ``Describing``."""
        if not self._moments:
            return {}
        return {**described(self._moments, self.manifest.event_time, columns)}

    def encode(self, columns: Columns) -> Array:
        """Return the matrix of n rows; see ``Encoder.encode``."""
        return self._encoder.encode(columns)

    def predict_matrix(self, matrix: Array) -> dict[str, np.ndarray]:
        """Return the outputs for an encoded (n, d) matrix."""
        raw = self.scorer.raw(matrix)
        if not self.manifest.classes:
            return {"prediction": raw[:, 0], **self.intervals.outputs(matrix, raw[:, 0])}
        probability = probabilities(raw)
        if self.calibrator is not None:
            probability = self.calibrator.apply(probability)
        if probability.ndim == 1:
            (limit,) = self.manifest.limits or (0.5,)
            places = (probability >= limit).astype(np.int64)
        else:
            places = probability.argmax(axis=1)
        return {"probability": probability, "label": self._classes[places]}


def probabilities(raw: Array) -> Array:
    """Return (n,) probabilities of one column of log-odds, or (n, k) of k logits."""
    return sigmoid(raw[:, 0]) if raw.shape[1] == 1 else softmax(raw)


def load(manifest: Manifest, files: Mapping[str, bytes]) -> TabularPredictor:
    """Build the predictor from a package's checked files.

    Raises:
        IntegrityError: A model file is missing or malformed.
        NotInstalled: The algorithm's library is not installed.
    """
    readers = texts.load(files)
    read = [feature.name for feature in manifest.features if feature.kind == "text"]
    if read != list(readers):
        raise IntegrityError(
            f"the package reads the texts {list(readers)}, and its manifest names {read}",
            fix="train again",
        )
    return TabularPredictor(
        manifest,
        derived.load(files, levels.load(files, load_scorer(manifest.algorithm, files))),
        calibration.load(files),
        readers,
        intervals.load(files),
        _rarer(files),
    )


def _rarer(files: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    if RARER_FILE not in files:
        return {}
    try:
        return msgspec.json.decode(files[RARER_FILE], type=dict[str, tuple[str, ...]])
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{RARER_FILE}: {error}", fix="train again") from error
