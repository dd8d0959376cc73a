"""How numbers, times and names are written on the page."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from noria.demo.figures import Aim, Figures

NAMES: Final = {
    "loop": "The loop",
    "frozen": "Frozen January model",
    "monthly": "Monthly retrain",
    "no_change": "No-change",
}
SHORT: Final = {
    "loop": "loop",
    "frozen": "frozen",
    "monthly": "monthly",
    "no_change": "no-change",
}
_MINUTE: Final = 60


def number(value: float | None, digits: int = 3) -> str:
    """Write a metric; what is not defined is a dash."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """Write a difference with its sign; a rounded zero has none."""
    if value is None:
        return "–"
    written = f"{value:+.{digits}f}".replace("-", "−")
    return written[1:] if not any(digit in written for digit in "123456789") else written


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
    """Write a day of the replayed year."""
    return f"{at.day} {at:%b}"


def minute(at: datetime) -> str:
    """Write a day and a time of day."""
    return f"{at.day} {at:%b %H:%M}"


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


def headline(figures: Figures) -> str:
    """Say in one sentence what came out, whatever it is."""
    share = figures.aims[0].value
    runs = f"{figures.retrains.loop} retrain{'' if figures.retrains.loop == 1 else 's'}"
    monthly = figures.retrains.monthly
    if share is None:
        return (
            f"With {runs} of its own the loop reached AUC {number(figures.auc.loop)}; the monthly"
            f" retrain gained nothing over the frozen model, so there is no share to speak of."
        )
    if share < 0:
        return (
            f"With {runs} of its own the loop ended below the model that was never touched:"
            f" AUC {number(figures.auc.loop)} against {number(figures.auc.frozen)}."
        )
    return (
        f"With {runs} of its own the loop reached {percent(share)} of what {monthly} monthly"
        f" retrains gain over a model that is never touched."
    )
