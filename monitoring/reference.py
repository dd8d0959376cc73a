"""What a version looked like in training: the rows that windows are compared with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from monitoring.archive import Archive
from monitoring.core import ClassName
from monitoring.table import (
    Column,
    ColumnArray,
    FloatArray,
    Table,
    missing_vectors,
    text_of,
)
from noria.errors import IntegrityError, InvalidInput, StoreError, Unavailable, shorten
from noria.files import DAMAGED, make_folder, write_file
from noria.labels import checked_targets
from noria.measures.measurement import Measurement

FILES: Final = ("reference.json", "rows.npz")
"""What a reference folder holds."""
MAX_BYTES: Final = 256 << 20
"""The most that each layer of a reference may hold: its files, and the arrays in them."""

MOST_COLUMNS: Final = 32
"""Numbers of a prediction that are watched one by one."""

_FORMAT: Final = 1
_MATRIX: Final = 2
_MAX_DOCUMENT_BYTES: Final = 32 << 20
_MAX_NAME_CHARS: Final = 512
_DIGEST_CHARS: Final = 16
_DOCUMENT, _ROWS = FILES
_NAN: Final = float("nan")


class _Feature(msgspec.Struct, frozen=True):
    name: str
    kind: str
    categories: list[str | int | float | bool] | None = None
    min: float | None = None
    max: float | None = None
    missing: float | None = None
    others: int | None = None
    width: int = 0


class _Prediction(msgspec.Struct, frozen=True):
    kind: str = ""
    classes: tuple[ClassName, ...] = ()
    targets: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()


class _Document(msgspec.Struct, frozen=True):
    format: int
    features: list[_Feature]
    model: str = ""
    rows: int = 0
    prediction: _Prediction | None = None
    performance: dict[str, Measurement | None] = {}


@dataclass(frozen=True, slots=True)
class Reference:
    """A version's reference.

    Attributes:
        features: rows seen in training.
        prediction: predictions on held-out rows, as ``prediction_table`` has them; without those
            that are not finite.
        ranges: numeric feature to (min, max) over the whole training set; NaN where unknown.
        missing: feature to the share of training rows that lack it, 0 to 1.
        seen: categorical feature to the hashes of categories that training had beyond those of
            its column; None where not all of them are known, so that any may have been seen.
        performance: metric to its value on held-out rows.
        bounds: metric to its 95 % interval on held-out rows, where they could tell.
        targets: the names of a row's targets, in order; empty: they are counted.
        classes: of a classifier; the positive one of two is the last. Empty if unknown.
        thresholds: probabilities from which on something is called positive; empty: 0.5.
    """

    features: Table
    prediction: Table
    ranges: Mapping[str, tuple[float, float]]
    missing: Mapping[str, float]
    seen: Mapping[str, frozenset[int] | None]
    performance: Mapping[str, float]
    classes: tuple[ClassName, ...] = ()
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()

    @property
    def part_names(self) -> tuple[str, ...]:
        """What a metric's parts are called: classes, or targets; empty: they are counted."""
        return tuple(map(text_of, self.classes)) or self.targets


def read_reference(files: Mapping[str, bytes]) -> Reference:
    """Read the content of a reference's two files; nothing of it is trusted.

    Raises:
        InvalidInput: one does not fit; the message names it.
    """
    document = _document(files[_DOCUMENT])
    said = document.prediction or _Prediction()
    if said.targets and said.classes:
        raise InvalidInput(f"{_DOCUMENT}: prediction.targets: a model of classes has one target")
    limits, wanted = said.thresholds, len(said.targets) or 1
    if len(limits) not in (0, wanted) or not all(0 < one <= 1 for one in limits):
        raise InvalidInput(
            f"{_DOCUMENT}: prediction.thresholds: {shorten(limits)} is not one probability"
            + (" of each target" if said.targets else "")
        )
    arrays = Archive(
        files[_ROWS],
        _ROWS,
        most_members=2 * len(document.features) + 16,
        most_bytes=MAX_BYTES,
    )
    schema: list[Column] = []
    columns: dict[str, ColumnArray] = {}
    missing: dict[str, float] = {}
    seen: dict[str, frozenset[int] | None] = {}
    for i, feature in enumerate(document.features):
        where = f"{_DOCUMENT}: features[{i}]"
        if not 0 < len(feature.name) <= _MAX_NAME_CHARS or feature.name in columns:
            raise InvalidInput(
                f"{where}.name: {shorten(feature.name)} is empty, long or there twice"
            )
        if f"f{i}.npy" not in arrays.names:
            raise InvalidInput(f"{_ROWS} has no column f{i} ({shorten(feature.name)})")
        column, array = _column(feature, arrays.array(f"f{i}.npy"), where)
        schema.append(column)
        columns[column.name] = array
        missing[column.name] = _share(feature.missing, array)
        if column.kind == "categorical":
            seen[column.name] = _others(feature, arrays, f"s{i}.npy")
    rows = {array.shape[0] for array in columns.values()}
    if len(rows) > 1:
        raise InvalidInput(f"{_ROWS} has columns of different lengths {shorten(rows)}")
    has_prediction = "prediction.npy" in arrays.names
    prediction = arrays.array("prediction.npy") if has_prediction else np.empty(0)
    return Reference(
        features=Table(tuple(schema), columns, rows.pop() if rows else 0),
        prediction=_predictions(prediction.astype(np.float64), said.targets),
        ranges={
            f.name: (_NAN if f.min is None else f.min, _NAN if f.max is None else f.max)
            for f in document.features
            if f.kind in ("numeric", "boolean")
        },
        missing=missing,
        seen=seen,
        performance={
            name: found.value
            for name, found in document.performance.items()
            if found is not None and found.value is not None and np.isfinite(found.value)
        },
        classes=said.classes,
        targets=checked_targets(said.targets, f"{_DOCUMENT}: prediction.targets"),
        thresholds=said.thresholds,
        bounds={
            name: (found.low, found.high)
            for name, found in document.performance.items()
            if found is not None and found.low is not None and found.high is not None
        },
    )


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the content of a reference's two files by name.

    Raises:
        InvalidInput: one can't be read, is no file, or is too large.
    """
    found = {}
    for name in FILES:
        path = folder / name
        try:
            if not path.is_file():
                raise InvalidInput(f"path: {path} is no file")
            with path.open("rb") as file:
                found[name] = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise InvalidInput(f"path: {shorten(str(path))} can't be read: {error}") from error
        if len(found[name]) > MAX_BYTES:
            raise InvalidInput(f"path: {path} holds over {MAX_BYTES} bytes")
    return found


def read_kept(folder: Path) -> Reference:
    """Read a reference that the monitor has kept.

    Raises:
        IntegrityError: it is not what was put.
        InvalidInput: it can't be read.
    """
    files = read_folder(folder)
    if not folder.name.endswith(f"-{_digest(files)}"):
        raise IntegrityError(f"{folder.name} is not what was put", fix="put the reference again")
    return read_reference(files)


def _predictions(values: FloatArray, targets: Sequence[str]) -> Table:
    if values.ndim != _MATRIX or not values.size:
        values = values.ravel()
        return prediction_table(values[np.isfinite(values)])
    names = targets if values.shape[1] == len(targets) else ()
    return prediction_table(values[np.isfinite(values).all(axis=1)], names)


def prediction_table(values: FloatArray, names: Sequence[str] = ()) -> Table:
    """Return predictions as a table.

    (n,) is the one column ``prediction``; (n, k) are k columns ``prediction[NAME]``, the name
    of a class or the place in the answer, where there are at most ``MOST_COLUMNS``. More are one
    vector ``prediction``, and of classes the greatest of each row, ``prediction[greatest]``.
    """
    if values.ndim == 1:
        return Table((Column("prediction", "numeric"),), {"prediction": values}, values.size)
    rows, width = values.shape
    if width > MOST_COLUMNS and not names:
        column = Column("prediction", "vector", width=width)
        return Table((column,), {"prediction": values.astype(np.float32)}, rows)
    names = names or tuple(map(str, range(width)))
    if width > MOST_COLUMNS:
        return Table.from_matrix(values.max(axis=1, keepdims=True), ("prediction[greatest]",))
    return Table.from_matrix(values, tuple(f"prediction[{name}]" for name in names))


def keep_reference(files: Mapping[str, bytes], home: Path, version: str) -> str:
    """Keep a reference in the monitor's state and return its name there.

    The name holds a digest of the content, so that a copy never changes and the
    log can be worked through again. A damaged copy is set aside.

    Raises:
        Unavailable: the disk does not take it.
    """
    safe = "".join(c if (c.isascii() and c.isalnum()) or c in "-." else "_" for c in version)
    kept = f"{safe}-{_digest(files)}"
    target = home / kept
    try:
        if target.is_dir():
            if _is_whole(target):
                return kept
            _set_aside(target)
        draft = home / f".{kept}.partial"
        shutil.rmtree(draft, ignore_errors=True)
        make_folder(draft)
        for name in FILES:
            write_file(draft / name, files[name])
        draft.rename(target)
    except (StoreError, OSError) as error:
        raise Unavailable(f"the reference can't be kept: {error}", fix="free disk space") from error
    return kept


def _is_whole(folder: Path) -> bool:
    with suppress(InvalidInput):
        return folder.name.endswith(f"-{_digest(read_folder(folder))}")
    return False


def _set_aside(folder: Path) -> None:
    aside = folder.with_name(folder.name + DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def _digest(files: Mapping[str, bytes]) -> str:
    digest = sha256()
    for name in FILES:
        digest.update(files[name])
    return digest.hexdigest()[:_DIGEST_CHARS]


def _document(body: bytes) -> _Document:
    if len(body) > _MAX_DOCUMENT_BYTES:
        raise InvalidInput(f"{_DOCUMENT} holds over {_MAX_DOCUMENT_BYTES} bytes")
    try:
        found = msgspec.json.decode(body, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{_DOCUMENT} can't be read: {error}") from error
    if found.format != _FORMAT:
        raise InvalidInput(f"{_DOCUMENT} has format {shorten(found.format)}, not {_FORMAT}")
    return found


def _column(feature: _Feature, values: Any, where: str) -> tuple[Column, ColumnArray]:
    if feature.kind == "vector":
        if values.ndim != _MATRIX or values.dtype.kind != "f" or values.shape[1] != feature.width:
            raise InvalidInput(
                f"{where}: its column in {_ROWS} is no (n, {feature.width}) matrix of numbers"
            )
        return Column(feature.name, "vector", width=feature.width), values.astype(np.float32)
    if values.ndim != 1:
        raise InvalidInput(f"{where}: its column in {_ROWS} is no list of values")
    if feature.kind in ("numeric", "boolean"):
        numbers = values.astype(np.float64)
        # An infinite value has no place in a mean or a range: it counts as missing.
        return Column(feature.name, "numeric"), np.where(np.isinf(numbers), _NAN, numbers)
    categories = tuple(text_of(value) for value in feature.categories or ())
    if values.dtype.kind not in "iu":
        raise InvalidInput(f"{where}: its column in {_ROWS} holds no places of categories")
    if values.size and not (int(values.min()) >= -1 and int(values.max()) < len(categories)):
        raise InvalidInput(f"{where}: a place beyond its {len(categories)} categories")
    return Column(feature.name, "categorical", categories), values.astype(np.int32)


def _others(feature: _Feature, arrays: Archive, name: str) -> frozenset[int] | None:
    """Return the hashes of categories that training had beyond those named; None: not all."""
    known = arrays.array(name).ravel().tolist() if name in arrays.names else []
    whole = feature.others is None or len(known) >= feature.others
    return frozenset(int(value) for value in known) if whole else None


def _share(said: float | None, values: ColumnArray) -> float:
    """Return how much of a column training lacked; of an earlier format, what its rows lack."""
    if said is not None and 0.0 <= said <= 1.0:
        return said
    if not values.size:
        return 0.0
    if values.ndim == _MATRIX:
        return float(missing_vectors(values).mean())
    return float((np.isnan(values) if values.dtype.kind == "f" else values < 0).mean())
