"""From columns to the matrix that every algorithm reads, the same in training and in serving.

One row of the matrix is float64: numbers as they are, booleans as 0 and 1, a
categorical value as its place in the feature's table, a time feature as the
number derived from the event time, a moment as the parts of its date and the days that it was
before the event time, a vector as its numbers side by side, a text as those that
its reader makes of it. Whatever is missing, infinite, unreadable or was never seen in training is
NaN; a missing text is an empty one. Only numpy is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.exchange.moments import days_of
from noria.tasks.package import Feature
from noria.values import number, text
from noria.values.vectors import stacked

Matrix = NDArray[np.float64]
Columns = Mapping[str, np.ndarray]

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_NAT: Final = np.iinfo(np.int64).min


def _day_of_year(ms: NDArray[np.int64]) -> NDArray[Any]:
    days = ms.astype("datetime64[ms]").astype("datetime64[D]")
    first = days.astype("datetime64[Y]").astype("datetime64[D]")
    return np.asarray((days - first).astype(np.int64) + 1)


def _month(ms: NDArray[np.int64]) -> NDArray[Any]:
    months = ms.astype("datetime64[ms]").astype("datetime64[M]")
    return months.astype(np.int64) % 12 + 1


def _year(ms: NDArray[np.int64]) -> NDArray[Any]:
    return ms.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64) + 1970


# All in UTC. Monday is 0; days of the year and months count from 1.
TIME_FEATURES: Final[Mapping[str, Callable[[NDArray[np.int64]], NDArray[Any]]]] = {
    "minute-of-day": lambda ms: ms % _DAY // _MINUTE,
    "hour-of-day": lambda ms: ms % _DAY // _HOUR,
    "day-of-week": lambda ms: (ms // _DAY + 3) % 7,
    "day-of-year": _day_of_year,
    "month": _month,
}


def time_feature(name: str, epoch_ms: NDArray[np.int64]) -> Matrix:
    """Return one time feature of n moments, in milliseconds since 1970 UTC; NaN for NaT."""
    return _derived(TIME_FEATURES[name], epoch_ms)


def _derived(part: Callable[[NDArray[np.int64]], NDArray[Any]], ms: NDArray[np.int64]) -> Matrix:
    values = np.asarray(part(ms), dtype=np.float64)
    missing = ms == _NAT
    return np.where(missing, np.nan, values) if missing.any() else values


MOMENT_PARTS: Final = (
    _year,
    TIME_FEATURES["month"],
    TIME_FEATURES["day-of-week"],
    TIME_FEATURES["hour-of-day"],
)
"""What a moment becomes, in order; after them, beside an event time, the days before it."""


def days_before(moments: NDArray[np.int64], event: NDArray[np.int64]) -> Matrix:
    """Return how many days before its event each of n moments was; NaN where one is missing.

    Both are milliseconds since 1970 UTC. A moment after its event is so many days below 0.
    """
    known = (moments != _NAT) & (event != _NAT)
    days = (event.astype(np.float64) - moments.astype(np.float64)) / _DAY
    return np.where(known, days, np.nan)


def described(
    features: Iterable[Feature], event_time: str | None, columns: Columns
) -> dict[str, Matrix]:
    """Return what is watched of moments: the days before the event, by the descriptor's name."""
    if event_time is None:
        return {}
    return {
        days_of(one.name): days_before(
            epoch_ms(one.name, columns[one.name]), epoch_ms(event_time, columns[event_time])
        )
        for one in features
        if one.kind == "timestamp"
    }


def epoch_ms(name: str, column: np.ndarray) -> NDArray[np.int64]:
    """Return a column of moments as milliseconds since 1970 UTC; missing ones as NaT.

    Raises:
        InvalidInput: The column holds neither integers nor datetime64.
    """
    if column.dtype == np.int64:
        return column
    if column.dtype.kind == "M":
        return column.astype("datetime64[ms]").astype(np.int64)
    if column.dtype.kind in "iuf":
        known = np.isfinite(column)
        return np.where(known, np.where(known, column, 0), _NAT).astype(np.int64)
    raise InvalidInput(
        f"column {name!r}: {column.dtype} is not a moment",
        fix="give int64 milliseconds since 1970 UTC, or datetime64",
    )


class Reads(Protocol):
    """What makes numbers of texts."""

    def read(self, texts: Iterable[str | None]) -> Matrix:
        """Return the (n, width) numbers of n texts."""
        ...


class Encoder:
    """Turns columns into the matrix, by the features of a manifest.

    Args:
        features: Of the manifest, in order; descriptors are no part of the matrix.
        event_time: The column of the event time.
        readers: Of the features that are texts, by name.
        rarer: By feature, more categories than its table has; their codes follow on it.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        event_time: str | None,
        readers: Mapping[str, Reads] = MappingProxyType({}),
        rarer: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.features = tuple(one for one in features if one.origin != "descriptor")
        self._event_time = event_time
        self._readers = readers
        self._tables: tuple[dict[Any, float], ...] = tuple(
            {
                name: float(code)
                for code, name in enumerate((*feature.categories, *rarer.get(feature.name, ())))
            }
            for feature in self.features
        )
        self._width = sum(feature.size for feature in self.features)

    def encode(self, columns: Columns) -> Matrix:
        """Return a C-ordered (n, d) float64 matrix, the features in the manifest's order.

        Raises:
            InvalidInput: A column is missing, is not one-dimensional, has
                another length than the others, or can't be read as its kind.
        """
        rows = self._rows(columns)
        matrix = np.empty((rows, self._width), dtype=np.float64)
        moments: NDArray[np.int64] | None = None
        place = -1
        for feature, table in zip(self.features, self._tables, strict=True):
            place += 1
            if feature.origin == "time":
                if moments is None:
                    moments = self._moments(columns, rows)
                matrix[:, place] = time_feature(feature.name, moments)
                continue
            column = columns[feature.name]
            if feature.kind == "vector":
                matrix[:, place : place + feature.size] = _vectors(feature, column)
                place += feature.size - 1
            elif feature.kind == "categorical":
                matrix[:, place] = _codes(feature, column, table)
            elif feature.kind == "text":
                part = self._readers[feature.name].read(_read(feature, column))
                matrix[:, place : place + feature.size] = part
                place += feature.size - 1
            elif feature.kind == "timestamp":
                own = epoch_ms(feature.name, column)
                for derive in MOMENT_PARTS:
                    matrix[:, place] = _derived(derive, own)
                    place += 1
                if self._event_time is None:
                    place -= 1
                else:
                    if moments is None:
                        moments = self._moments(columns, rows)
                    matrix[:, place] = days_before(own, moments)
            elif column.dtype.kind in "fiub":
                matrix[:, place] = column
            else:
                matrix[:, place] = _numbers(feature, column)
        infinite = np.isinf(matrix)
        if infinite.any():
            matrix[infinite] = np.nan
        return matrix

    def _rows(self, columns: Columns) -> int:
        rows = -1
        for feature in self.features:
            if feature.origin == "time":
                continue
            column = columns.get(feature.name)
            if column is None:
                raise InvalidInput(
                    f"column {feature.name!r} is missing",
                    fix=f"send every column: {', '.join(self._needed())}",
                )
            flat = column.ndim == 1 or feature.kind == "vector"
            if not flat or (rows not in (-1, column.shape[0])):
                raise InvalidInput(
                    f"column {feature.name!r}: shape {column.shape}, expected "
                    f"({'n' if rows == -1 else rows},)",
                    fix="send one value for each row in every column",
                )
            rows = column.shape[0]
        if rows == -1:
            moments = columns.get(self._event_time or "")
            rows = 0 if moments is None else len(moments)
        return rows

    def _needed(self) -> tuple[str, ...]:
        names = [feature.name for feature in self.features if feature.origin != "time"]
        if self._event_time and any(
            one.origin == "time" or one.kind == "timestamp" for one in self.features
        ):
            names.append(self._event_time)
        return tuple(names)

    def _moments(self, columns: Columns, rows: int) -> NDArray[np.int64]:
        name = self._event_time or ""
        column = columns.get(name)
        if column is None or column.shape != (rows,):
            raise InvalidInput(
                f"column {name!r} (the event time) is missing or has another length than the rows",
                fix="send the moment of each row",
            )
        return epoch_ms(name, column)


def _read(feature: Feature, column: np.ndarray) -> list[str | None]:
    try:
        return [value if type(value) is str else text(value) for value in column.tolist()]
    except InvalidInput as error:
        raise _unreadable(feature, error) from error


def _codes(feature: Feature, column: np.ndarray, table: Mapping[Any, float]) -> Matrix:
    try:
        return np.array(
            [
                table.get(value if type(value) is str else text(value), math.nan)
                for value in (column if column.dtype.kind == "f" else column.tolist())
            ],
            dtype=np.float64,
        )
    except InvalidInput as error:
        raise _unreadable(feature, error) from error


def _vectors(feature: Feature, column: np.ndarray) -> NDArray[Any]:
    try:
        return stacked(column, feature.size)
    except InvalidInput as error:
        raise InvalidInput(
            f"column {feature.name!r}: {error.message}",
            fix=f"send {feature.size} numbers in each row, or null",
        ) from error


def _numbers(feature: Feature, column: np.ndarray) -> Matrix:
    """Read an object column of numbers, booleans and None."""
    try:
        return np.array([number(value) for value in column.tolist()], dtype=np.float64)
    except InvalidInput as error:
        raise _unreadable(feature, error) from error


def _unreadable(feature: Feature, error: InvalidInput) -> InvalidInput:
    return InvalidInput(
        f"column {feature.name!r}: {error.message}", fix=f"send {feature.kind} values or null"
    )
