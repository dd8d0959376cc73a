"""What a version looked like in training: the rows that windows are compared with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from monitoring.table import Column, ColumnArray, FloatArray, Table, text_of
from noria.errors import InvalidInput

_FORMAT = 1
_BINARY = 2
FILES = ("reference.json", "rows.npz")
"""What a reference folder holds."""


class _Feature(msgspec.Struct, frozen=True):
    name: str
    kind: str
    categories: list[Any] | None = None
    min: float | None = None
    max: float | None = None


class _Prediction(msgspec.Struct, frozen=True):
    kind: str = ""
    classes: tuple[str | int | float | bool, ...] = ()


class _Performance(msgspec.Struct, frozen=True):
    value: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int | None = None


class _Document(msgspec.Struct, frozen=True):
    format: int
    features: list[_Feature]
    model: str = ""
    rows: int = 0
    prediction: _Prediction | None = None
    performance: dict[str, _Performance | None] = {}


@dataclass(frozen=True, slots=True)
class Reference:
    """A version's reference.

    Attributes:
        features: rows seen in training.
        prediction: one numeric column ``prediction``: predictions on held-out rows.
        ranges: numeric feature to (min, max) over the whole training set; NaN where unknown.
        performance: metric to its value on held-out rows.
        classes: of a classifier, as texts; the positive one of two is the last. Empty if unknown.
    """

    features: Table
    prediction: Table
    ranges: Mapping[str, tuple[float, float]]
    performance: Mapping[str, float]
    classes: tuple[str, ...] = ()

    @property
    def multiclass(self) -> bool:
        """Whether there are more than two classes, so that a row has no one probability."""
        return len(self.classes) > _BINARY


def read_reference(folder: Path) -> Reference:
    """Read a reference folder: ``reference.json`` and ``rows.npz``.

    Raises:
        InvalidInput: a file is absent or does not fit; the message names it.
    """
    try:
        document = msgspec.json.decode((folder / "reference.json").read_bytes(), type=_Document)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"path: {folder}/reference.json can't be read: {error}") from error
    if document.format != _FORMAT:
        raise InvalidInput(f"path: {folder}/reference.json has format {document.format}, not 1")
    try:
        with np.load(folder / "rows.npz", allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"path: {folder}/rows.npz can't be read: {error}") from error
    schema, columns = [], {}
    for i, feature in enumerate(document.features):
        values = loaded.get(f"f{i}")
        if values is None or values.ndim != 1:
            raise InvalidInput(f"path: {folder}/rows.npz has no column f{i} ({feature.name})")
        column, array = _column(feature, values)
        schema.append(column)
        columns[column.name] = array
    rows = {array.size for array in columns.values()}
    if len(rows) > 1:
        raise InvalidInput(f"path: {folder}/rows.npz has columns of different lengths {rows}")
    prediction = np.asarray(loaded.get("prediction", np.empty(0)), np.float64).ravel()
    prediction = prediction[np.isfinite(prediction)]
    return Reference(
        features=Table(tuple(schema), columns, rows.pop() if rows else 0),
        prediction=prediction_table(prediction),
        ranges={
            f.name: (
                float("nan") if f.min is None else f.min,
                float("nan") if f.max is None else f.max,
            )
            for f in document.features
            if f.kind == "numeric"
        },
        performance={
            name: found.value
            for name, found in document.performance.items()
            if found is not None and found.value is not None and np.isfinite(found.value)
        },
        classes=()
        if document.prediction is None
        else tuple(text_of(name) for name in document.prediction.classes),
    )


def prediction_table(values: FloatArray) -> Table:
    """Return predictions as a table with the one column ``prediction``."""
    return Table((Column("prediction", "numeric"),), {"prediction": values}, values.size)


def keep_reference(source: Path, home: Path, version: str) -> str:
    """Copy a reference into the monitor's state and return the copy's name there.

    The name holds a digest of the content, so that a copy never changes and the
    log can be worked through again.
    """
    digest = sha256()
    for name in FILES:
        digest.update((source / name).read_bytes())
    safe = "".join(c if c.isalnum() or c in "-." else "_" for c in version)
    kept = f"{safe}-{digest.hexdigest()[:16]}"
    target = home / kept
    if not target.is_dir():
        partial = home / f".{kept}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(source / name, partial / name)
        partial.rename(target)
    return kept


def _column(feature: _Feature, values: Any) -> tuple[Column, ColumnArray]:
    if feature.kind in ("numeric", "boolean"):
        return Column(feature.name, "numeric"), np.asarray(values, np.float64)
    categories = tuple(text_of(value) for value in feature.categories or ())
    return Column(feature.name, "categorical", categories), np.asarray(values, np.int32)
