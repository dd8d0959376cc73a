"""How numbers, times and names are written on the page."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Final

from noria.report.figures import Aim

_MINUTE: Final = 60


def number(value: float | None, digits: int = 3) -> str:
    """Write a metric; what is not defined is a dash."""
    return "–" if value is None else f"{value:.{_kept(value, digits)}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """Write a difference with its sign; a rounded zero has none."""
    if value is None:
        return "–"
    written = f"{value:+.{_kept(value, digits)}f}".replace("-", "−")
    return written[1:] if not any(digit in written for digit in "123456789") else written


def _kept(value: float, digits: int) -> int:
    """Return how many digits a number keeps: large ones need none behind the point."""
    size = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    return max(0, digits - max(0, size))


def percent(value: float | None) -> str:
    """Write a share in percent, fine enough that a near miss does not round up to the aim."""
    if value is None:
        return "not defined"
    return f"{100 * value:.1f} %".replace("-", "−")


def count(value: int) -> str:
    """Write a whole number with thin spaces between the thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def took(seconds: float) -> str:
    """Write a wall time."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def day(at: date | datetime) -> str:
    """Write a day."""
    return f"{at:%Y-%m-%d}"


def minute(at: datetime) -> str:
    """Write a day and a time of day."""
    return f"{at:%Y-%m-%d %H:%M}"


def aim_value(aim: Aim) -> str:
    """Write what came out for an aim, in the aim's own unit."""
    if aim.value is None:
        return "not defined"
    if "%" in aim.target:
        return percent(aim.value)
    return f"{aim.value:.0f}" if aim.value == int(aim.value) else signed(aim.value, 4)


def aim_verdict(aim: Aim) -> str:
    """Write whether an aim was met, in one word or two."""
    return "not defined" if aim.met is None else "met" if aim.met else "missed"
