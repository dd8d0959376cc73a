"""Answers of a package of several labels: a tabular model of two classes for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from noria.errors import IntegrityError
from noria.tasks.encoding import Columns
from noria.tasks.package import Manifest, Output
from noria.tasks.tabular import predictor as tabular
from noria.tasks.tabular.predictor import TabularPredictor

FILE: Final = "labels.json"
PREDICTION: Final = "prediction"
LABEL: Final = "label"
CLASSES: Final = (0, 1)


def outputs_of(labels: int) -> tuple[Output, ...]:
    """Return what a model of so many labels answers with."""
    return (Output(PREDICTION, "FP64", (labels,)), Output(LABEL, "INT64", (labels,)))


@dataclass(frozen=True, slots=True, eq=False)
class MultiLabelPredictor:
    """See ``noria.tasks.package.Predictor``; ``parts`` are in the order of the targets."""

    manifest: Manifest
    parts: tuple[TabularPredictor, ...]

    def predict(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return ``prediction``, the probability of each label, and ``label``, 1 or 0: (n, k)."""
        shared = None
        said: list[dict[str, np.ndarray]] = []
        for part in self.parts:
            if part.readers:  # each model makes its own numbers of texts
                said.append(part.predict(columns))
                continue
            shared = part.encode(columns) if shared is None else shared
            said.append(part.predict_matrix(shared))
        return {
            PREDICTION: np.column_stack([one["probability"] for one in said]),
            LABEL: np.column_stack([one["label"] for one in said]).astype(np.int64),
        }

    def describe(self, columns: Columns) -> dict[str, np.ndarray]:
        """See ``noria.tasks.package.Describing``: the same of any label."""
        return self.parts[0].describe(columns)


def files_of(algorithms: Sequence[str], parts: Sequence[Mapping[str, bytes]]) -> dict[str, bytes]:
    """Return the files of a package: of each label its algorithm, and its files in a folder."""
    files = {FILE: msgspec.json.encode(list(algorithms))}
    for place, part in enumerate(parts):
        files |= {f"{place}/{name}": content for name, content in part.items()}
    return files


def load(manifest: Manifest, files: Mapping[str, bytes]) -> MultiLabelPredictor:
    """Build the predictor from a package's checked files.

    Raises:
        IntegrityError: A model file is missing or malformed.
        NotInstalled: An algorithm's library is not installed.
    """
    labels = manifest.target_names
    try:
        algorithms = msgspec.json.decode(files[FILE], type=list[str])
    except (KeyError, msgspec.DecodeError) as error:
        raise IntegrityError(f"{FILE}: {error}", fix="train again") from error
    if not labels or len(algorithms) != len(labels):
        raise IntegrityError(
            f"{FILE}: is of {len(algorithms)} labels, and the manifest names {len(labels)}",
            fix="train again",
        )
    parts = []
    for place, algorithm in enumerate(algorithms):
        own = msgspec.structs.replace(
            manifest,
            algorithm=algorithm,
            classes=CLASSES,
            targets=msgspec.UNSET,
            thresholds=manifest.limits[place : place + 1] or msgspec.UNSET,
        )
        start = f"{place}/"
        inside = {
            name.removeprefix(start): content
            for name, content in files.items()
            if name.startswith(start)
        }
        parts.append(tabular.load(own, inside))
    return MultiLabelPredictor(manifest, tuple(parts))
