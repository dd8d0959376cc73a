"""One value: what it is as a text, a number, a label or a moment."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

import numpy as np

from noria.errors import InvalidInput, shorten

Class: TypeAlias = str | int | bool

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MAX_INT_BITS: Final = 512
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_NOTHING: Final = ("NAType", "NaTType")


def text(value: Any) -> str | None:
    """Return a value as a category or a key, None when it is missing.

    A text is itself, character by character. Equal numbers have one text, whatever their type:
    the shortest decimal digits that tell the number apart at its own width, without exponent or
    trailing zeros (7, 7.0 and Decimal("7.00") are "7"; a float32 0.1 is "0.1").

    Raises:
        InvalidInput: It has no text: it is infinite, a float beyond the whole numbers that it
            tells apart, bytes that are no UTF-8, a duration, or nested.
    """
    if isinstance(value, str):
        return str(value)
    if _is_missing(value):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return _digits(int(value))
    if isinstance(value, float | np.floating):
        return _shortest(value)
    if isinstance(value, Decimal):
        return _positional(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{shorten(value)} is not UTF-8", fix="write texts") from error
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return trimmed(value.isoformat())
    if isinstance(value, UUID):
        return str(value)
    raise InvalidInput(
        f"{shorten(value)} is a {type(value).__name__}, which has no text of its own",
        fix="write it as a text or a number",
    )


def number(value: Any) -> float:
    """Return a number or a boolean (0 or 1) as float64, NaN when it is missing.

    Raises:
        InvalidInput: It is no finite number, or a whole number that float64 can't hold exactly.
    """
    if _is_missing(value):
        return math.nan
    if isinstance(value, bool | np.bool_ | int | np.integer | float | np.floating | Decimal):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if not math.isfinite(found):
            raise InvalidInput(f"{shorten(value)} is not a finite number", fix="drop or correct it")
        if isinstance(value, int | np.integer) and int(found) != int(value):
            raise InvalidInput(
                f"{shorten(int(value))} is beyond 2^53, where float64 can't hold all whole numbers",
                fix="declare it categorical if it is a name; scale it if it is a quantity",
            )
        return found
    raise InvalidInput(f"{shorten(value)} is not a number", fix="give numbers, or null")


def label(value: Any) -> Class:
    """Return a class as one of the plain types: 1.0 and Decimal("1.00") are 1, the rest is text.

    Raises:
        InvalidInput: It is missing, or has no text.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    found = text(value)
    if found is None:
        raise InvalidInput("a label is missing", fix="give a class")
    numbers = int | np.integer | float | np.floating | Decimal
    if isinstance(value, numbers) and _WHOLE.fullmatch(found):
        return int(found)
    return found


def place_of(value: Any, classes: Sequence[Class]) -> int | None:
    """Return which of the classes a label names, None when it is none of them.

    A label is read by the type of the classes, and equal numbers are equal: of the classes 0
    and 1 a label may be 1, 1.0, "1" or true, of false and true it may be true, "true" or 1.
    """
    try:
        names = [text(name) for name in classes]
        said = text(value)
    except InvalidInput:
        return None
    if said in names and said is not None:
        return names.index(said)
    truth = {"true": "1", "false": "0", "1": "true", "0": "false"}
    if said in truth and sorted(map(str, names)) in (["0", "1"], ["false", "true"]):
        # A text is no boolean for numbers: "true" was never written where 1 was meant.
        other = truth[said]
        if other in names and (isinstance(value, bool | np.bool_) or other in ("true", "false")):
            return names.index(other)
    return None


def moment(written: str) -> datetime:
    """Return an ISO 8601 text as an instant; without a zone it is UTC.

    Raises:
        InvalidInput: It is not ISO 8601, or outside of the years 1 to 9999.
    """
    try:
        found = datetime.fromisoformat(written.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{shorten(written, 40)} is not an ISO-8601 time such as 2013-02-01T06:00:00Z"
        ) from error


def epoch_ms(written: str) -> int:
    """Return an ISO 8601 text as milliseconds since 1970 UTC.

    Raises:
        InvalidInput: See ``moment``.
    """
    return (moment(written) - _EPOCH) // _MILLISECOND


def whole_limit(dtype: np.dtype[Any]) -> float:
    """Return the number up to which a float type tells all whole numbers apart, such as 2^53."""
    return float(2.0 ** (np.finfo(dtype).nmant + 1))


def trimmed(written: str) -> str:
    """Return a time without the zeros that end its fraction."""
    return written.rstrip("0").rstrip(".") if "." in written else written


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in _NOTHING:
        return True
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return isinstance(value, Decimal) and value.is_nan()


def _digits(value: int) -> str:
    if value.bit_length() > _MAX_INT_BITS:
        raise InvalidInput(f"{shorten(value)} is too long for a name", fix="write it as a text")
    return str(value)


def _shortest(value: float | np.floating[Any]) -> str:
    width = value.dtype if isinstance(value, np.floating) else np.dtype(np.float64)
    limit = whole_limit(width)
    if math.isinf(value):
        raise InvalidInput(f"{value} is not a finite number", fix="drop or correct it")
    if abs(float(value)) > limit:
        raise InvalidInput(
            f"{shorten(float(value))} is beyond 2^{int(math.log2(limit))}, where a {width} does "
            "not tell whole numbers apart",
            fix="write it as an integer or as a text",
        )
    return _positional(Decimal(np.format_float_scientific(value, unique=True)))


def _positional(value: Decimal) -> str:
    if not value.is_finite():
        raise InvalidInput(f"{value} is not a finite number", fix="drop or correct it")
    written = format(value, "f")
    if "." in written:
        written = written.rstrip("0").rstrip(".")
    return "0" if written in ("-0", "") else written


def _instant(value: datetime) -> str:
    at = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    whole = at.replace(tzinfo=None, microsecond=0).isoformat()[:19]
    fraction = f"{at.microsecond:06d}{getattr(at, 'nanosecond', 0):03d}".rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
