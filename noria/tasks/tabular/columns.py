"""What the columns of a file hold, found by reading every value by the rule that training has."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from noria.errors import DataError, shorten
from noria.spec import CsvSource
from noria.tasks.sources import csv as csv_files
from noria.tasks.sources import parquet
from noria.tasks.tabular.schema import MAX_CATEGORIES
from noria.values.columns import Role, read_column
from noria.values.notation import Notation

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["numeric", "boolean", "categorical", "text", "timestamp", "vector", "key", "nothing"]

_MISSING: Final = ("NA", "N/A", "NaN", "nan", "NULL", "null", "None")
"""What a field of a CSV file may hold that means missing, where the others are numbers."""
_SEPARATORS: Final = (",", ";", "\t", "|")
_LEADING_ZERO: Final = re.compile(r"0[0-9]+", re.ASCII)
KEY_NAME: Final = re.compile(r"(^|[_\W])(id|key|uuid|no|nr|number)$|(?<=[a-z])(Id|ID|Key)$|^id$")
_WORDS: Final = 3
"""Words of a median text; with fewer it is a name."""
_LONG: Final = 30
"""Characters of a median text without spaces between its words, as Korean or Chinese may be."""
_FEW_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class Held:
    """What one column holds: ``values`` are n, read by its role; ``why`` says what is no feature.

    ``missing`` is the share of rows that lack a value, ``distinct`` how many values there are.
    """

    name: str
    kind: Kind
    values: np.ndarray
    missing: float
    distinct: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A file's columns in order, and how it is read: ``csv`` is None of Parquet."""

    path: Path
    columns: Mapping[str, Held]
    rows: int
    csv: CsvSource | None


def table_of(path: Path) -> Table:
    """Read a file and find out what its columns hold.

    Raises:
        DataError: It is neither CSV nor Parquet, can't be read, or has no rows.
    """
    if path.suffix == ".parquet":
        source, arrays = None, _parquet(path)
    elif path.suffix == ".csv":
        source, arrays = _csv(path)
    else:
        raise DataError(f"{path}: is neither CSV nor Parquet", fix="name it .csv or .parquet")
    rows = max((len(array) for array in arrays.values()), default=0)
    if not rows:
        raise DataError(f"{path}: has no rows", fix="give rows to learn from")
    notation = None if source is None else _notation(source)
    columns = {name: _held(name, array, notation) for name, array in arrays.items()}
    return Table(path, columns, rows, source)


def _parquet(path: Path) -> dict[str, pa.ChunkedArray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: can't be read as Parquet: {error}") from error
    (part,) = parquet.read([path], names)
    return dict(part.columns)


def _csv(path: Path) -> tuple[CsvSource, dict[str, pa.ChunkedArray]]:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            first = file.readline()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    separator = max(_SEPARATORS, key=first.count)
    names = next(csv.reader([first.rstrip("\r\n")], delimiter=separator), [])
    source = CsvSource(paths=(path.name,), separator=separator)
    (part,) = csv_files.read([path], names, source)
    if part.problems:
        raise DataError("\n".join(map(str, part.problems)), problems=part.problems)
    arrays = dict(part.columns)
    found = dict(_marks(arrays, separator))
    changed = {
        "missing_values": ("", *sorted(found.get("missing", frozenset()))),
        "decimal": "," if found.get("comma") else ".",
    }
    if changed["missing_values"] == ("",) and changed["decimal"] == ".":
        return source, arrays
    source = source.model_copy(update=changed)
    (part,) = csv_files.read([path], names, source)
    return source, dict(part.columns)


def _marks(arrays: Mapping[str, Any], separator: str) -> Iterator[tuple[str, Any]]:
    """Yield what the file's numbers need to be read: words for missing, and a decimal comma."""
    missing: set[str] = set()
    for array in arrays.values():
        present = set(pd.unique(array.to_pandas().dropna()))
        if present & set(_MISSING) and present - set(_MISSING):
            for decimal in (".", ",") if separator != "," else (".",):
                as_number = Notation(frozenset(("", *_MISSING)), decimal)
                if as_number.read_column(array, "number")[1] is None:
                    missing |= present & set(_MISSING)
        if separator != "," and any("," in text for text in present):
            as_number = Notation(frozenset(("", *_MISSING)), ",")
            if as_number.read_column(array, "number")[1] is None:
                yield "comma", True
    yield "missing", missing


def _notation(source: CsvSource) -> Notation:
    return Notation(frozenset(source.missing_values), source.decimal, source.date_format)


def _held(name: str, array: pa.ChunkedArray, notation: Notation | None) -> Held:
    def read(role: Role) -> np.ndarray | None:
        values, fault = (read_column if notation is None else notation.read_column)(array, role)
        return values if fault is None else None

    kind, values = _kind_of(array, read, is_text_file=notation is not None)
    if values is None:
        empty = np.full(len(array), None, dtype=object)
        return Held(name, "nothing", empty, 1.0, 0, f"{array.type} is no column that is read")
    gone = np.asarray(pd.isna(values))
    missing = float(gone.mean())
    if kind == "vector":
        return Held(name, kind, values, missing, len(values))
    distinct = len(pd.unique(values[~gone]))
    if distinct < 2:
        said = "it has no value" if not distinct else f"it is {_shown(values[~gone][0])} always"
        return Held(name, "nothing", values, missing, distinct, said)
    unique = not missing and distinct == len(values) >= _FEW_ROWS
    if kind == "numeric" and unique and KEY_NAME.search(name) and _whole(values):
        kind = "key"
    if kind == "categorical":
        kind = _kind_of_texts(name, values[~gone].tolist(), distinct, unique=unique)
    why = "it is another text in each row" if kind == "nothing" else ""
    return Held(name, kind, values, missing, distinct, why)


def _kind_of(array: Any, read: Any, *, is_text_file: bool) -> tuple[Kind, np.ndarray | None]:
    """Return the kind by type, texts as categorical yet; the first that every value can be."""
    import pyarrow.types as types

    kind = array.type
    inner = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return "vector", read("vector")
    if not (types.is_string(inner) or types.is_large_string(inner)):
        if types.is_boolean(inner):
            return "boolean", read("boolean")
        if types.is_temporal(inner) and not types.is_time(inner) and not types.is_duration(inner):
            return "timestamp", read("time")
        found = read("number")
        return ("numeric", found) if found is not None else ("categorical", read("text"))
    written = read("text")
    known = [] if written is None else [one for one in written.tolist() if one]
    if not known:
        return "categorical", written
    if is_text_file and not any(_LEADING_ZERO.fullmatch(one) for one in known):
        words = {one.strip().lower() for one in known}
        if words <= {"true", "false"}:
            return "boolean", read("boolean")
        found = read("number")
        if found is not None:
            return "numeric", found
    # A word of digits alone is no date in a file of texts.
    if any(not one.isascii() or "-" not in one for one in known[:100]):
        return "categorical", written
    moments = read("time")
    return ("timestamp", moments) if moments is not None else ("categorical", written)


def _kind_of_texts(name: str, known: list[str], distinct: int, *, unique: bool) -> Kind:
    lengths = np.array([len(one) for one in known])
    words = np.array([len(one.split()) for one in known])
    reads = float(np.median(words)) >= _WORDS or float(np.median(lengths)) >= _LONG
    if distinct <= MAX_CATEGORIES and distinct <= len(known) / 2:
        return "categorical"
    if unique and (KEY_NAME.search(name) or not reads) and float(words.mean()) < 1.5:
        return "key" if KEY_NAME.search(name) else "nothing"
    return "text" if reads else "categorical"


def _shown(value: Any) -> str:
    """Return a value as a sentence shows it."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, np.datetime64) else shorten(value)


def _whole(values: np.ndarray) -> bool:
    return bool((values == np.floor(values)).all())
