"""Durations, byte quantities and CPU quantities: parsed on the way in, short on the way out.

Quantities follow Kubernetes' resource model (``500m``, ``4Gi``); durations are one
whole number with one unit (``250ms``), because Kubernetes' own duration format has no days.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from noria.errors import shorten
from noria.spec.section import refuse

DURATION_PATTERN: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
BYTES_PATTERN: Final = r"^[0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?$"
_POSITIVE_DURATION_PATTERN: Final = r"^0*[1-9][0-9]{0,8}(ms|s|m|h|d)$"
_DURATION_OR_AUTO_PATTERN: Final = r"^(auto|0*[1-9][0-9]{0,8}(ms|s|m|h|d))$"
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
MAX_MESSAGE_BYTES: Final = 1 << 30
_LONGEST_WAIT: Final = timedelta(seconds=10)
_LONGEST_STEP: Final = timedelta(days=365)
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


def _message_bytes(size: int) -> int:
    if size > MAX_MESSAGE_BYTES:
        raise refuse(
            f"{format_bytes(size)} is more than {format_bytes(MAX_MESSAGE_BYTES)}",
            "write at most 1Gi: gRPC counts a message in 31 bits, and a server keeps it whole",
        )
    return size


def _up_to(limit: int) -> str:
    """Return a pattern of the whole numbers from 1 to ``limit``."""
    digits = str(limit)
    found = [f"[1-9][0-9]{{0,{len(digits) - 2}}}"] if len(digits) > 1 else []
    for at, digit in enumerate(digits):
        lowest = 0 if at else 1
        if int(digit) > lowest:
            rest = len(digits) - at - 1
            tail = f"[0-9]{{{rest}}}" if rest else ""
            found.append(f"{digits[:at]}[{lowest}-{int(digit) - 1}]{tail}")
    return f"({'|'.join((*found, digits))})"


def _bytes_pattern(limit: int) -> str:
    """Return a pattern of the sizes from 1 to ``limit`` bytes, in every unit."""
    sizes = [
        f"{_up_to(limit // factor)}{unit}"
        for unit, factor in _BYTE_UNITS.items()
        if limit >= factor
    ]
    return f"^0*({'|'.join(sizes)})$"


def _bounded(limit: timedelta) -> Callable[[timedelta], timedelta]:
    def check(duration: timedelta) -> timedelta:
        if duration > limit:
            raise refuse(
                f"{format_duration(duration)} is longer than {format_duration(limit)}",
                f"write at most {format_duration(limit)}",
            )
        return duration

    return check


def _duration_pattern(limit: timedelta) -> str:
    """Return a pattern of the durations up to ``limit``, in every unit."""
    found = ["0+(ms|s|m|h|d)"]
    for unit, size in _DURATION_UNITS.items():
        most = limit // size
        if most:
            found.append(f"0*{_up_to(min(most, 999_999_999))}{unit}")
    return f"^({'|'.join(found)})$"


def _positive_duration(duration: timedelta) -> timedelta:
    if not duration:
        raise refuse("0s is no time at all", "write a duration over zero")
    return duration


def _duration_or_auto(value: Any) -> Any:
    return value if value == "auto" else _positive_duration(parse_duration(value))


def _count_or_auto(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refuse(f"{shorten(value)} is no number of rows", "write auto, or 1 or more")
    return value


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
DurationOrAuto: TypeAlias = Annotated[
    timedelta | Literal["auto"],
    BeforeValidator(_duration_or_auto),
    BeforeValidator(_no_newline),
    PlainSerializer(
        lambda value: value if value == "auto" else format_duration(value),
        return_type=str,
        when_used="json",
    ),
    WithJsonSchema({"type": "string", "pattern": _DURATION_OR_AUTO_PATTERN, "maxLength": 11}),
]
"""A duration over zero, or ``auto``: what is measured says how long."""
CountOrAuto: TypeAlias = Annotated[
    int | Literal["auto"],
    BeforeValidator(_count_or_auto),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 1, "pattern": "^auto$"}),
]
"""A whole number from 1, or ``auto``."""
WaitDuration: TypeAlias = Annotated[
    Duration,
    AfterValidator(_bounded(_LONGEST_WAIT)),
    WithJsonSchema(
        {"type": "string", "pattern": _duration_pattern(_LONGEST_WAIT), "maxLength": 11}
    ),
]
"""How long a request may be kept waiting: clients and proxies give up soon after."""
StepDuration: TypeAlias = Annotated[
    PositiveDuration,
    AfterValidator(_bounded(_LONGEST_STEP)),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": _duration_pattern(_LONGEST_STEP).replace("0+(ms|s|m|h|d)|", ""),
            "maxLength": 11,
        }
    ),
]
"""How long a pod may run: Kubernetes counts its deadline in 31 bits of seconds."""
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
MessageBytes: TypeAlias = Annotated[
    Bytes,
    AfterValidator(_message_bytes),
    WithJsonSchema(
        {
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": MAX_MESSAGE_BYTES,
            "pattern": _bytes_pattern(MAX_MESSAGE_BYTES),
        }
    ),
]
"""The size of one message, which a server holds whole."""
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
