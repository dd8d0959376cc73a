"""A column of a file or a frame, read by the rule.

Each reader takes an Arrow array of n values and returns (n,) values and what it had to refuse:
the first value that does not fit and how many there are, or the type as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput, Problem, shorten
from noria.values import scalars, vectors

if TYPE_CHECKING:
    import pyarrow as pa

Role: TypeAlias = Literal["number", "weight", "boolean", "text", "time", "label", "vector"]
Floats: TypeAlias = NDArray[np.float64]

_FIRST: Final = np.datetime64(datetime(1, 1, 1), "us")  # noqa: DTZ001 - numpy knows UTC only
_LAST: Final = np.datetime64("9999-12-31T23:59:59.999999", "us")
_ISO: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?$"
)
_US_PER_MS: Final = 1000
_INT64: Final = np.iinfo(np.int64)
# Epoch seconds of 2001 to 2128, which would be some days of 1970 as milliseconds.
_SECONDS: Final = (1_000_000_000, 5_000_000_000)
ROLES: Final[Mapping[str, Role]] = {
    "numeric": "number",
    "boolean": "boolean",
    "categorical": "text",
    "text": "text",
    "timestamp": "time",
    "vector": "vector",
}
"""The role of a feature's column, by the feature's type."""
_GIVE: Final[Mapping[Role, str]] = {
    "number": "give numbers, or declare it categorical",
    "weight": "give a number of 0 or more in each row; 0 leaves the row out",
    "boolean": "give true and false, or 0 and 1; or declare it numeric or categorical",
    "text": "write it as a text or a number",
    "label": "write it as a text, an integer or a boolean",
    "vector": "give a list of finite numbers, the same number of them in each row; null is missing",
    "time": "give ISO-8601 texts, timestamps or integer milliseconds since 1970, in UTC",
}
_WANTED: Final[Mapping[Role, str]] = {
    "number": "a number",
    "weight": "a number of 0 or more",
    "boolean": "true or false",
    "text": "a category or a key",
    "label": "a class",
    "vector": "a list of numbers",
    "time": "a moment",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What a column can't be read for: ``row`` counts from 0, None when it is the whole type."""

    said: str
    fix: str
    row: int | None = None
    count: int = 0

    def problem(self, column: str, origin: str = "", first: int = 0) -> Problem:
        """Return it as a problem of a column of ``origin``, whose row 0 is number ``first``."""
        at = "" if self.row is None else f"row {self.row + first + 1}: "
        others = f" ({self.count} such rows)" if self.count > 1 else ""
        path = f"{origin}: column {column}" if origin else f"column {column}"
        return Problem(path, f"{at}{self.said}{others}", self.fix)


def read_column(values: Any, role: Role) -> tuple[np.ndarray, Fault | None]:
    """Read n values (an Arrow array or chunked array, a pandas Series) as their role.

    Returns:
        number: float64, NaN for missing. weight: float64, none missing or under 0. boolean:
        float64 of 0, 1 and NaN. text: object, str or None. time: datetime64[us] in UTC, NaT for
        missing. label: object, all of them str, all int or all bool, or None. vector: object,
        float arrays of one length or None. Where there is a fault, what it is about is missing.
    """
    if role == "weight":
        return weighed(*read_column(values, "number"))
    array = arrow(values)
    if array is None:
        if role == "vector":
            return np.full(len(values), None, dtype=object), _NO_VECTORS
        return _by_object(list(values), role)
    readers: Mapping[Role, Callable[[pa.Array], tuple[np.ndarray, Fault | None]]] = {
        "number": numbers,
        "boolean": _booleans,
        "text": texts,
        "time": _moments,
        "label": _labels,
        "vector": _vectors,
    }
    return readers[role](array)


def weighed(values: np.ndarray, fault: Fault | None) -> tuple[np.ndarray, Fault | None]:
    """Return numbers that were read as weights, with the fault of those that are none."""
    wrong = ~(values >= 0.0)
    if fault is not None or not wrong.any():
        return values, fault
    first = int(np.argmax(wrong))
    said = "missing" if math.isnan(values[first]) else f"{values[first]:g}"
    fix = _GIVE["weight"]
    return values, Fault(f"{said} is no weight", fix, first, int(wrong.sum()))


def arrow(values: Any) -> pa.Array | None:
    """Return one Arrow array of plain values; None for objects that Arrow has no type for."""
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        array = values.combine_chunks()
    elif isinstance(values, pa.Array):
        array = values
    else:
        try:
            array = pa.Array.from_pandas(values)
        except (pa.ArrowException, OverflowError, TypeError):
            return None
    if isinstance(array, pa.ChunkedArray):  # texts beyond 2 GB
        array = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in array.chunks])
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    if isinstance(array, pa.RunEndEncodedArray):
        array = pa.compute.run_end_decode(array)
    if array.type.id in (pa.decimal32(1).id, pa.decimal64(1).id):
        array = array.cast(pa.decimal128(38, array.type.scale))
    return array


def numbers(array: pa.Array) -> tuple[Floats, Fault | None]:
    """Read numbers and booleans; see ``read_column``."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_integer(kind):
        known = np.asarray(array.is_valid())
        exact = array.fill_null(0).to_numpy(zero_copy_only=False)
        found = exact.astype(np.float64)
        wrong = np.abs(found) >= scalars.whole_limit(found.dtype)
        for row in np.flatnonzero(wrong).tolist():
            wrong[row] = int(found[row]) != int(exact[row])
        found[~known] = np.nan
        return found, _first(
            wrong,
            lambda row: (
                f"{exact[row]} is beyond 2^53, where float64 can't hold all whole numbers",
                "declare it categorical if it is a name; scale it if it is a quantity",
            ),
        )
    if pa.types.is_floating(kind):
        found = _floats(array).astype(np.float64)
        return found, _first(
            np.isinf(found),
            lambda row: (
                f"{found[row]} is not a finite number",
                "correct it, or leave it empty (null) where it means missing",
            ),
        )
    if pa.types.is_boolean(kind):
        return array.cast(pa.int8()).cast(pa.float64()).to_numpy(zero_copy_only=False), None
    if pa.types.is_decimal(kind):
        return _each(array, scalars.number, np.dtype(np.float64), np.nan)
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan), None
    return np.full(len(array), np.nan), _refused(array, "number")


def _booleans(array: pa.Array) -> tuple[np.ndarray, Fault | None]:
    import pyarrow as pa

    kind, types = array.type, pa.types
    taken = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    if not any(is_kind(kind) for is_kind in taken):
        return np.full(len(array), np.nan), _refused(array, "boolean")
    found, fault = numbers(array)
    return (found, fault) if fault is not None else truths(found)


def truths(found: Floats) -> tuple[Floats, Fault | None]:
    """Return numbers as booleans: 0, 1 and NaN only."""
    wrong = ~(np.isnan(found) | (found == 0.0) | (found == 1.0))
    fault = _first(wrong, lambda row: (f"{found[row]:g} is neither 0 nor 1", _GIVE["boolean"]))
    return np.where(wrong, np.nan, found), fault


def texts(array: pa.Array) -> tuple[np.ndarray, Fault | None]:
    """Read categories and keys; see ``read_column``."""
    import pyarrow as pa

    kind, types = array.type, pa.types
    nothing = np.dtype(object)
    if _is_text(kind):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return texts(array.view(pa.binary() if types.is_string(kind) else pa.large_binary()))
        return _objects(array), None
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_date32(kind):
        return _objects(array.cast(pa.string())), None
    if types.is_date64(kind):
        return texts(array.cast(pa.date32(), safe=False))
    if types.is_floating(kind):
        distinct, places = np.unique(_floats(array), return_inverse=True)
        return mapped(list(distinct), places, scalars.text, nothing, None)
    if types.is_timestamp(kind):
        at = _naive(array).to_numpy(zero_copy_only=False)
        found = np.datetime_as_string(at).astype(object)
        found[:] = [None if text == "NaT" else f"{scalars.trimmed(text)}Z" for text in found]
        return found, None
    if types.is_time(kind):
        written = array.cast(pa.string()).to_pylist()
        return _column([t if t is None else scalars.trimmed(t) for t in written]), None
    if types.is_decimal(kind) or types.is_null(kind) or _is_bytes(kind):
        return _each(array, scalars.text, nothing, None)
    if str(kind) == "extension<arrow.uuid>":
        found = [b if b is None else str(UUID(bytes=b)) for b in array.storage.to_pylist()]
        return _column(found), None
    return np.full(len(array), None, dtype=object), _refused(array, "text")


def _moments(array: pa.Array) -> tuple[np.ndarray, Fault | None]:
    import pyarrow as pa

    kind, types = array.type, pa.types
    nat = np.full(len(array), "NaT", "datetime64[us]")
    if types.is_null(kind):
        return nat, None
    if types.is_date(kind):
        array = array.cast(pa.timestamp("s"))
        kind = array.type
    if types.is_timestamp(kind):
        # In seconds first: what microseconds can't hold must not wrap around.
        at = _naive(array).to_numpy(zero_copy_only=False)
        seconds = at.astype("datetime64[s]")
        known = ~np.isnat(at)
        wrong = known & ((seconds < _FIRST.astype("M8[s]")) | (seconds > _LAST.astype("M8[s]")))
        found = np.where(wrong, np.datetime64("NaT"), at).astype("datetime64[us]")
        return found, _first(wrong, lambda row: _out_of_time(str(seconds[row])))
    if types.is_integer(kind) or types.is_floating(kind):
        return milliseconds(array)
    if _is_text(kind):
        written, fault = texts(array)
        return instants(written, scalars.moment) if fault is None else (nat, fault)
    return nat, _refused(array, "time")


def milliseconds(array: pa.Array) -> tuple[np.ndarray, Fault | None]:
    """Read whole numbers as milliseconds since 1970 UTC."""
    import pyarrow as pa

    found, fault = numbers(array)
    nat = np.full(len(array), "NaT", "datetime64[us]")
    if fault is not None:
        return nat, replace(fault, fix=_GIVE["time"])
    known = ~np.isnan(found)
    if pa.types.is_floating(array.type):
        broken = known & (found != np.floor(found))
        if broken.any():
            return nat, _first(
                broken,
                lambda row: (f"{found[row]} is not a whole number of milliseconds", _GIVE["time"]),
            )
    values = found[known]
    if values.size and values.min() >= _SECONDS[0] and values.max() < _SECONDS[1]:
        row = int(np.flatnonzero(known)[0])
        return nat, Fault(
            f"{found[row]:.0f} is a moment of 1970 in milliseconds; all rows look like seconds",
            "multiply them by 1000",
            row,
            int(known.sum()),
        )
    low, high = (int(edge.astype(np.int64)) / _US_PER_MS for edge in (_FIRST, _LAST))
    wrong = known & ((found < low) | (found > high))
    ms = np.where(known & ~wrong, found, 0.0).astype(np.int64)
    out = (ms * _US_PER_MS).astype("datetime64[us]")
    out[~known | wrong] = np.datetime64("NaT")
    return out, _first(wrong, lambda row: _out_of_time(f"{found[row]:.0f} milliseconds since 1970"))


def instants(
    written: np.ndarray, read: Callable[[str], datetime]
) -> tuple[np.ndarray, Fault | None]:
    """Read texts as moments, each distinct one once."""
    import pandas as pd

    if read is scalars.moment and (quick := _plain_instants(written)) is not None:
        return quick, None
    places, distinct = pd.factorize(written)

    def at(text: str) -> np.datetime64:
        return np.datetime64(read(text).astimezone(UTC).replace(tzinfo=None), "us")

    nat = np.datetime64("NaT", "us")
    return mapped(list(distinct), places, at, np.dtype("datetime64[us]"), nat, _GIVE["time"])


def _plain_instants(written: np.ndarray) -> np.ndarray | None:
    """Return ISO 8601 texts of the usual form as moments at once; None where one is another."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(pc.match_substring_regex(pa.array(written, pa.string()), _ISO)).as_py() is not True:
        return None
    try:
        found = pd.DatetimeIndex(pd.to_datetime(written, format="ISO8601", utc=True))
    except (ValueError, OverflowError):
        return None
    return found.tz_localize(None).as_unit("us").to_numpy().copy()


def _labels(array: pa.Array) -> tuple[np.ndarray, Fault | None]:
    import pyarrow as pa

    kind, types = array.type, pa.types
    if types.is_boolean(kind):
        return _column(array.to_pylist()), None
    found, fault = texts(array)
    if fault is not None or not (
        types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    ):
        return found, fault
    return whole(found)


def whole(found: np.ndarray) -> tuple[np.ndarray, Fault | None]:
    """Return the texts of numbers as integers when all of them are; else as they are."""
    import pandas as pd

    places, distinct = pd.factorize(found)
    classes = [scalars.label(Decimal(text)) for text in distinct]
    if not all(isinstance(name, int) for name in classes):
        return found, None
    beyond = [not _INT64.min <= int(name) <= _INT64.max for name in classes]
    table = np.array([*classes, None], dtype=object)
    return table[places], _first(
        np.array([*beyond, False])[places],
        lambda row: (f"{found[row]} is beyond the 64-bit integers", "write labels as texts"),
    )


def _vectors(array: pa.Array) -> tuple[np.ndarray, Fault | None]:
    nothing = np.full(len(array), None, dtype=object)
    if array.null_count == len(array):
        return nothing, None
    if not vectors.is_list(array.type):
        return nothing, _refused(array, "vector")
    try:
        matrix, known = vectors.matrix_of_lists(array)
    except InvalidInput as error:
        return nothing, Fault(error.message, _GIVE["vector"])
    # As a tensor has it: all of its numbers are NaN.
    gone = np.isnan(matrix).all(axis=1) & (matrix.shape[1] > 0)
    rows = np.flatnonzero(known)
    known[rows[gone]] = False
    rows, matrix = rows[~gone], matrix[~gone]
    wrong = np.zeros(len(array), dtype=bool)
    wrong[rows] = ~np.isfinite(matrix).all(axis=1)
    fault = _first(wrong, lambda _: ("a number in it is missing or infinite", _GIVE["vector"]))
    return vectors.objects(matrix, known), fault


_NO_VECTORS: Final = Fault("they are no lists of numbers of one length", _GIVE["vector"])


def _floats(array: pa.Array) -> np.ndarray:
    """Return floats at their own width, NaN for missing."""
    if array.null_count:
        values = array.fill_null(math.nan)
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _naive(array: pa.Array) -> pa.Array:
    """Return timestamps as UTC without their zone."""
    import pyarrow as pa

    return array.cast(pa.timestamp(array.type.unit))


def _objects(array: pa.Array) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=object)


def _column(values: Iterable[Any]) -> np.ndarray:
    kept = list(values)
    found = np.empty(len(kept), dtype=object)
    found[:] = kept
    return found


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _each(
    array: pa.Array, read: Callable[[Any], Any], dtype: np.dtype[Any], nothing: Any
) -> tuple[np.ndarray, Fault | None]:
    """Read each distinct value of a column once."""
    encoded = array.dictionary_encode()
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return mapped(encoded.dictionary.to_pylist(), places, read, dtype, nothing)


def mapped(
    distinct: list[Any],
    places: np.ndarray,
    read: Callable[[Any], Any],
    dtype: np.dtype[Any],
    nothing: Any,
    fix: str = "",
) -> tuple[np.ndarray, Fault | None]:
    """Read distinct values once each and put them in their places; place -1 is ``nothing``."""
    table = np.empty(len(distinct) + 1, dtype=dtype)
    table[:] = nothing
    refusals: dict[int, InvalidInput] = {}
    for place, value in enumerate(distinct):
        try:
            table[place] = read(value)
        except InvalidInput as error:
            refusals[place] = error
    wrong = np.zeros(len(distinct) + 1, dtype=bool)
    wrong[list(refusals)] = True
    return table[places], _first(
        wrong[places],
        lambda row: (refusals[int(places[row])].message, fix or refusals[int(places[row])].fix),
    )


def _by_object(values: list[Any], role: Role) -> tuple[np.ndarray, Fault | None]:
    """Read Python objects one by one: a frame that mixes types."""
    nat = np.datetime64("NaT", "us")

    def instant(value: Any) -> Any:
        written = scalars.text(value)
        if written is None:
            return nat
        at = scalars.moment(written).replace(tzinfo=None)
        return np.datetime64(at, "us")

    def truth(value: Any) -> float:
        found, fault = truths(np.array([scalars.number(value)]))
        if fault is not None:
            raise InvalidInput(fault.said, fix=fault.fix)
        return float(found[0])

    def name(value: Any) -> Any:
        return None if scalars.text(value) is None else scalars.label(value)

    readers: Mapping[Role, tuple[Callable[[Any], Any], Any, Any]] = {
        "number": (scalars.number, np.float64, np.nan),
        "boolean": (truth, np.float64, np.nan),
        "text": (scalars.text, object, None),
        "time": (instant, "datetime64[us]", nat),
        "label": (name, object, None),
    }
    read, dtype, nothing = readers[role]
    fix = "" if role == "text" else _GIVE[role]
    places = np.arange(len(values))
    return mapped(values, places, read, np.dtype(dtype), nothing, fix)


def _first(wrong: np.ndarray, said: Callable[[int], tuple[str, str]]) -> Fault | None:
    """Return the fault of the first row that is wrong."""
    if not wrong.any():
        return None
    row = int(np.argmax(wrong))
    return Fault(*said(row), row, int(wrong.sum()))


def _refused(array: pa.Array, role: Role) -> Fault | None:
    """Return the fault of a type that the role does not take; None where nothing is in it."""
    if array.null_count == len(array):
        return None
    row = int(np.argmax(np.asarray(array.is_valid())))
    one = array.slice(row, 1)
    if role in ("text", "label"):
        value = one[0].as_py()
    else:
        written, fault = texts(one)
        if fault is not None and _is_text(array.type):
            return replace(fault, row=row)
        value = written[0] if fault is None else one[0].as_py()
    return Fault(
        f"{shorten(value)} is not {_WANTED[role]}: the column is {array.type}",
        _GIVE[role],
        row,
        len(array) - array.null_count,
    )


def _out_of_time(said: str) -> tuple[str, str]:
    return f"{said} is outside of the years 1 to 9999", _GIVE["time"]
