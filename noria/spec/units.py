"""Durations, byte quantities and CPU quantities: parsed on the way in, short on the way out.

Quantities follow Kubernetes' resource model (``500m``, ``4Gi``); durations are one
whole number with one unit (``250ms``), because Kubernetes' own duration format has no days.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from noria.errors import shorten
from noria.spec.section import refuse

DURATION_PATTERN: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
BYTES_PATTERN: Final = r"^[0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?$"
_POSITIVE_DURATION_PATTERN: Final = r"^0*[1-9][0-9]{0,8}(ms|s|m|h|d)$"
_POSITIVE_BYTES_PATTERN: Final = r"^0*[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?$"
_POSITIVE_CPU_PATTERN: Final = (
    r"^(0*[1-9][0-9]{0,3}(\.[0-9]{1,3})?|0{1,4}\.([1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9])"
    r"|0*[1-9][0-9]{0,6}m)$"
)
BYTES_OR_NONE_PATTERN: Final = r"^([0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?)?$"
CPU_PATTERN: Final = r"^([0-9]{1,4}(\.[0-9]{1,3})?|[0-9]{1,7}m)$"

_DURATION_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_BYTE_UNITS: Final = {
    "Ti": 1 << 40, "Gi": 1 << 30, "Mi": 1 << 20, "Ki": 1 << 10,
    "T": 10**12, "G": 10**9, "M": 10**6, "k": 10**3, "": 1,
}  # fmt: skip
_MAX_DURATION: Final = timedelta(days=36_500)
_MAX_BYTES: Final = 1 << 60
_DURATION_FIX: Final = "write a whole number and a unit: 250ms, 30s, 10m, 24h or 7d"
_BYTES_FIX: Final = "write bytes with a unit: 512Ki, 16Mi or 4Gi"
_CPU_FIX: Final = 'write CPUs as text: "2", "0.5" or "500m"'


def parse_duration(value: Any) -> timedelta:
    """Return the duration that ``250ms``, ``30s``, ``10m``, ``24h`` or ``7d`` means.

    Args:
        value: The text; a ``timedelta`` of whole milliseconds passes through.

    Raises:
        PydanticCustomError: Not a duration, negative, finer than a millisecond, or over 100 years.
    """
    duration = value if isinstance(value, timedelta) else _duration_of_text(value)
    if duration < timedelta(0) or duration % timedelta(milliseconds=1):
        raise refuse(f"{value} is not a duration of whole milliseconds", _DURATION_FIX)
    if duration > _MAX_DURATION:
        raise refuse(f"{shorten(value)} is longer than 100 years", "write at most 36500d")
    return duration


def _duration_of_text(value: Any) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise refuse(f"{shorten(value)} has no unit", _DURATION_FIX)
    if not isinstance(value, str) or not re.match(DURATION_PATTERN, value, re.ASCII):
        raise refuse(f"{shorten(value)} is not a duration", _DURATION_FIX)
    number = value.rstrip("dhms")
    try:
        return int(number) * _DURATION_UNITS[value[len(number) :]]
    except OverflowError:
        return _MAX_DURATION + timedelta(days=1)


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that ``parse_duration`` reads back: ``2d``, not ``48h``."""
    if not duration:
        return "0s"
    for unit, size in _DURATION_UNITS.items():
        if not duration % size:
            return f"{duration // size}{unit}"
    return f"{duration // timedelta(milliseconds=1)}ms"


def parse_bytes(value: Any) -> int:
    """Return the number of bytes that ``16Mi``, ``4Gi`` or ``500M`` means.

    Args:
        value: The text; an ``int`` is bytes already.

    Raises:
        PydanticCustomError: Not a quantity, negative, or over 1 EiB.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        size = value
    elif isinstance(value, str) and (found := re.match(BYTES_PATTERN, value, re.ASCII)):
        unit = found.group(1) or ""
        size = int(value.removesuffix(unit)) * _BYTE_UNITS[unit]
    else:
        raise refuse(f"{shorten(value)} is not a size in bytes", _BYTES_FIX)
    if size > _MAX_BYTES:
        raise refuse(f"{shorten(value)} is more than 1 EiB", _BYTES_FIX)
    return size


def _parse_bytes_or_none(value: Any) -> int:
    return 0 if value == "" else parse_bytes(value)


def format_bytes(size: int) -> str:
    """Return the shortest text that ``parse_bytes`` reads as ``size``: ``16Mi``."""
    for unit, factor in _BYTE_UNITS.items():
        if size and not size % factor:
            return f"{size // factor}{unit}"
    return "0"


def _cpu(value: Any) -> str:
    if isinstance(value, str) and re.match(CPU_PATTERN, value, re.ASCII):
        if cpu_count(value) > 0:
            return value
        raise refuse(f"{shorten(value)} is no CPU at all", _CPU_FIX)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise refuse(f"{shorten(value)} is a number", _CPU_FIX)
    raise refuse(f"{shorten(value)} is not a CPU quantity", _CPU_FIX)


def cpu_count(quantity: str) -> float:
    """Return the CPUs that a validated quantity means: ``"500m"`` is 0.5."""
    if quantity.endswith("m"):
        return int(quantity[:-1]) / 1000
    return float(quantity)


def _positive_duration(duration: timedelta) -> timedelta:
    if not duration:
        raise refuse("0s is no time at all", "write a duration over zero")
    return duration


def _positive_bytes(size: int) -> int:
    if not size:
        raise refuse("0 bytes is nothing", "write a size over zero")
    return size


# `$` also matches before a last newline; the schema's patterns have no such leniency.
def _no_newline(value: Any) -> Any:
    if isinstance(value, str) and value.endswith("\n"):
        raise refuse(f"{shorten(value)} ends in a line break", "remove it")
    return value


Duration: TypeAlias = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    BeforeValidator(_no_newline),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "maxLength": 11}),
]
PositiveDuration: TypeAlias = Annotated[
    Duration,
    AfterValidator(_positive_duration),
    WithJsonSchema({"type": "string", "pattern": _POSITIVE_DURATION_PATTERN, "maxLength": 11}),
]
Bytes: TypeAlias = Annotated[
    int,
    BeforeValidator(parse_bytes),
    BeforeValidator(_no_newline),
    AfterValidator(_positive_bytes),
    PlainSerializer(format_bytes, return_type=str, when_used="json"),
    WithJsonSchema(
        {"type": ["integer", "string"], "minimum": 1, "pattern": _POSITIVE_BYTES_PATTERN}
    ),
]
BytesOrNone: TypeAlias = Annotated[
    int,
    BeforeValidator(_parse_bytes_or_none),
    BeforeValidator(_no_newline),
    PlainSerializer(
        lambda size: format_bytes(size) if size else "", return_type=str, when_used="json"
    ),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 0, "pattern": BYTES_OR_NONE_PATTERN}),
]
Cpu: TypeAlias = Annotated[
    str,
    BeforeValidator(_cpu),
    BeforeValidator(_no_newline),
    WithJsonSchema({"type": "string", "pattern": _POSITIVE_CPU_PATTERN, "maxLength": 8}),
]
