"""Labelled pictures from folders, or from tables that hold them or say where they are."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pandas as pd

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.images import IMAGE
from noria.tasks.images.describe import FolderSource, options_of
from noria.tasks.sources import csv, parquet
from noria.tasks.sources.files import prepare, source_files
from noria.tasks.sources.rows import labelled, row_columns
from noria.tasks.sources.typed import frame_of, roles_of
from noria.values.columns import read_column
from noria.values.notation import Notation

if TYPE_CHECKING:
    from noria.tasks.sources.typed import Part

PATH: Final = "path"
"""The column of where a picture was, where it was a file."""

_ENDINGS: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def labelled_pictures(spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
    """Return the rows whose label was known at ``as_of``, with the bytes of each picture.

    The column ``image`` has them, None where there is no file. Otherwise as
    ``noria.tasks.sources.rows.labelled_rows``.

    Raises:
        DataError: Files or columns are missing or can't be read.
        LeakageError: A label was known before its event.
    """
    if spec.data.source.kind == "folder":
        rows, root = _of_folder(spec, base)
    else:
        rows, root = _of_table(spec, base), base / options_of(spec).root
    rows = labelled(spec, rows, as_of)
    values, paths = [], []
    for value in rows[IMAGE]:
        encoded = isinstance(value, bytes)
        paths.append(None if encoded else value)
        values.append(value if encoded or value is None else _read(root / value))
    rows = rows.copy(deep=False)
    rows[IMAGE] = pd.Series(values, index=rows.index, dtype=object)
    if PATH not in rows and any(path is not None for path in paths):
        rows[PATH] = pd.Series(paths, index=rows.index, dtype=object)
    return rows


def named(rows: pd.DataFrame, row: int) -> str:
    """Return how a picture is told to people: its number, and its path where it has one."""
    path = rows[PATH].iloc[row] if PATH in rows else None
    return f"row {row}" if path is None else f"row {row} ({path})"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _of_folder(spec: ModelSpec, base: Path) -> tuple[pd.DataFrame, Path]:
    """Return a row for each file of each class's folder, in alphabetical order."""
    data = spec.data
    root = base / cast("FolderSource", data.source.given).path
    if not root.is_dir() and data.module is not None:
        prepare(base / data.module, base)
    if not root.is_dir():
        raise DataError(
            f"spec.data.source.folder.path: there is no folder {root}",
            fix="give one that has a folder of pictures for each class",
        )
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.glob("*/**/*")
        if path.suffix.lower() in _ENDINGS and path.is_file()
    )
    if not found:
        raise DataError(
            f"{root}: has no picture in any folder of a class",
            fix=f"put files ({', '.join(sorted(_ENDINGS))}) into {root.name}/CLASS/",
        )
    paths = np.array(found, dtype=object)
    label = np.array([path.partition("/")[0] for path in found], dtype=object)
    columns: dict[str, Any] = {PATH: paths, IMAGE: paths, cast("str", data.target): label}
    return pd.DataFrame(columns), root


def _of_table(spec: ModelSpec, base: Path) -> pd.DataFrame:
    data, column = spec.data, options_of(spec).column
    files = source_files(data, base)
    names = row_columns(data)
    known = roles_of(spec)
    roles = {name: known[name] for name in names}
    source = data.source.csv
    if source is None:
        parts = parquet.read(files, [*names, column])
        frame = frame_of(parts, roles, read_column)
    else:
        parts = csv.read(files, [*names, column], source)
        notation = Notation(frozenset(source.missing_values), source.decimal, source.date_format)
        frame = frame_of(parts, roles, notation.read_column)
    pictures = [value for part in parts for value in _pictures(part, column)]
    frame[IMAGE] = pd.Series(pictures, index=frame.index, dtype=object)
    return frame


def _pictures(part: Part, column: str) -> list[Any]:
    import pyarrow as pa

    values = part.columns[column]
    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    ):
        raise DataError(
            f"{part.origin}: {column} holds {kind}",
            fix="give the paths of pictures, or the bytes of their files",
        )
    return cast("list[Any]", values.to_pylist())
