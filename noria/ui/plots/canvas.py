"""The few elements that the plots are made of, and axes with round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

Number: TypeAlias = float
WIDTH: Final = 720.0
_DAY: Final = 86_400.0


class Canvas:
    """An SVG of ``width`` by ``height`` units with a title and a description for screen readers.

    Text goes through an XML writer: whatever it holds, it is text.
    """

    def __init__(
        self, width: float, height: float, title: str, about: str = "", *, kind: str = "plot"
    ) -> None:
        self.width, self.height = width, height
        attributes = {
            "class": kind,
            "viewBox": f"0 0 {_number(width)} {_number(height)}",
            "role": "img",
            "aria-label": title,
        }
        if kind == "bar":
            attributes["preserveAspectRatio"] = "none"  # as wide as its place, and no higher
        self._root = Element("svg", attributes)
        if about:
            SubElement(self._root, "desc").text = about

    def rect(self, box: tuple[float, float, float, float], kind: str, tip: str = "") -> None:
        """Draw a box of (x, y, width, height)."""
        x, y, width, height = box
        made = self._add("rect", kind, x=x, y=y, width=width, height=height)
        _tip(made, tip)

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        """Draw a straight line."""
        self._add("line", kind, x1=start[0], y1=start[1], x2=end[0], y2=end[1])

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Draw a line through points."""
        said = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        SubElement(self._root, "path", {"class": kind, "d": said})

    def dot(self, at: tuple[float, float], radius: float, kind: str, tip: str = "") -> None:
        """Draw a circle."""
        _tip(self._add("circle", kind, cx=at[0], cy=at[1], r=radius), tip)

    def diamond(self, at: tuple[float, float], radius: float, kind: str, tip: str = "") -> None:
        """Draw a square on its corner."""
        x, y = at
        corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
        said = " ".join(f"{_number(a)},{_number(b)}" for a, b in corners)
        _tip(SubElement(self._root, "polygon", {"class": kind, "points": said}), tip)

    def text(
        self, at: tuple[float, float], said: str, kind: str = "", anchor: str = "start"
    ) -> None:
        """Write; ``anchor`` is ``start``, ``middle`` or ``end``."""
        made = self._add("text", kind, x=at[0], y=at[1])
        made.set("text-anchor", anchor)
        made.text = said

    def markup(self) -> Markup:
        """Return the whole, ready for a page."""
        return Markup(tostring(self._root, encoding="unicode"))  # noqa: S704 - escaped by the writer

    def _add(self, tag: str, kind: str, **numbers: float) -> Element:
        attributes = {"class": kind} if kind else {}
        return SubElement(
            self._root, tag, attributes | {key: _number(v) for key, v in numbers.items()}
        )


def _tip(element: Element, tip: str) -> None:
    if tip:
        SubElement(element, "title").text = tip


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value is."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """Return bounds with some room on both sides."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(low) * share or 0.5
    return low - room, high + room


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return about ``most`` round values between the bounds: 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(1, most)
    if not (math.isfinite(raw) and raw > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s for s in (1.0, 2.0, 5.0, 10.0) if s * power >= raw * 0.999) * power
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [(first + i) * step for i in range(count)]


def label_of(value: float, step: float) -> str:
    """Write a tick with as many digits as its neighbours need to differ."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 2
    return f"{value:.{digits}f}"


def moment(at: float) -> str:
    """Write epoch seconds as a date and a time in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def day_or_time(at: float, span: float) -> str:
    """Write epoch seconds as short as a span of this many seconds allows."""
    when = datetime.fromtimestamp(at, UTC)
    if span < 2 * _DAY:
        return f"{when:%H:%M}"
    return f"{when:%m-%d}" if span < 300 * _DAY else f"{when:%Y-%m}"
