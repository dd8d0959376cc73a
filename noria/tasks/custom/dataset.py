"""What a model of the project's own gets to learn from, and the frame that it is asked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.tasks.package import Feature
from noria.values import Class
from noria.values.vectors import objects


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Rows to fit on.

    Attributes:
        features: n rows, the columns in the order of ``spec.data.features`` and then
            ``timeFeatures``. Numbers and booleans (0 and 1) are float64, NaN where missing;
            categories are pandas categoricals of a fixed table, the same at every call. A vector
            is an object column of float64 arrays, NaN where missing: ``np.stack(features[name])``
            is (n, width).
        target: (n,) labels as the rows have them, or float64 values.
        classes: The k labels in the order of the probabilities; empty for a number.
        codes: (n,) int64, the place of each label in ``classes``; empty for a number.
        weights: (n,) how much each row counts, of mean 1; None: all the same.
        parameters: ``spec.train.hyperparameters``, with what a search found.
        seed: ``spec.train.seed``: the same rows, parameters and seed should give the same model.
        threads: How many to use.
    """

    features: pd.DataFrame
    target: NDArray[Any]
    classes: tuple[Class, ...]
    codes: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    parameters: Mapping[str, Any]
    seed: int
    threads: int


def matrix_of(features: Sequence[Feature], frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return the (n, d) matrix of a frame as ``frame_of`` makes them; a category by its name too.

    Raises:
        KeyError: A column is missing.
    """
    columns = []
    for feature in features:
        column = frame[feature.name]
        if feature.kind == "vector":
            columns.append(np.stack(column.to_list()))
        elif feature.kind == "categorical":
            codes = pd.Categorical(column, categories=list(feature.categories)).codes
            columns.append(np.where(codes < 0, np.nan, codes.astype(np.float64)))
        else:
            columns.append(column.to_numpy(np.float64))
    return np.column_stack(columns)


def frame_of(features: Sequence[Feature], matrix: NDArray[np.float64]) -> pd.DataFrame:
    """Return the encoded (n, d) rows of features as the frame that a class reads."""
    if all(feature.kind in ("numeric", "boolean") for feature in features):
        return pd.DataFrame(matrix, columns=[feature.name for feature in features])
    columns: dict[str, Any] = {}
    place = 0
    for feature in features:
        values = matrix[:, place]
        if feature.kind == "vector":
            rows = matrix[:, place : place + feature.size]
            columns[feature.name] = objects(rows, np.ones(len(rows), dtype=bool))
        elif feature.kind == "categorical":
            codes = np.where(np.isnan(values), -1.0, values).astype(np.int64)
            columns[feature.name] = pd.Categorical.from_codes(
                codes.tolist(), categories=pd.Index(list(feature.categories), dtype=object)
            )
        else:
            columns[feature.name] = values
        place += feature.size
    return pd.DataFrame(columns)
