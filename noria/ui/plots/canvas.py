"""A canvas of the page's plots over the report's SVG parts, and times as axes show them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from noria.report.markup import Html, tag, text
from noria.report.svg import mark, path, tip_of

WIDTH: Final = 720.0
_DAY: Final = 86_400.0


class Canvas:
    """An SVG of ``width`` by ``height`` units, with a title for screen readers.

    Whatever a text holds, it is text: ``noria.report.markup`` escapes it.
    """

    def __init__(self, width: float, height: float, title: str, *, kind: str = "plot") -> None:
        self._attributes = {
            "class_": kind,
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria_label": title,
            # As wide as its place, and no higher.
            "preserveAspectRatio": "none" if kind == "bar" else None,
        }
        self._parts: list[Html] = []

    def rect(self, box: tuple[float, float, float, float], kind: str, tip: str = "") -> None:
        """Draw a box of (x, y, width, height)."""
        x, y, width, height = box
        drawn = tag("rect", tip_of(tip), class_=kind, x=x, y=y, width=width, height=height)
        self._parts.append(drawn)

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        """Draw a straight line."""
        drawn = tag("line", class_=kind, x1=start[0], y1=start[1], x2=end[0], y2=end[1])
        self._parts.append(drawn)

    def path(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """Draw a line through points."""
        self._parts.append(path(points, kind))

    def dot(self, at: tuple[float, float], radius: float, kind: str, tip: str = "") -> None:
        """Draw a circle."""
        self._parts.append(mark("dot", *at, kind, radius, tip))

    def diamond(self, at: tuple[float, float], radius: float, kind: str, tip: str = "") -> None:
        """Draw a square on its corner."""
        self._parts.append(mark("diamond", *at, kind, radius, tip))

    def text(
        self, at: tuple[float, float], said: str, kind: str | None = None, anchor: str = "start"
    ) -> None:
        """Write; ``anchor`` is ``start``, ``middle`` or ``end``."""
        drawn = tag("text", text(said), class_=kind, x=at[0], y=at[1], text_anchor=anchor)
        self._parts.append(drawn)

    def markup(self) -> Markup:
        """Return the whole, ready for a page."""
        return Markup(tag("svg", *self._parts, **self._attributes))  # noqa: S704 - escaped above


def moment(at: float) -> str:
    """Write epoch seconds as a date and a time in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def day_or_time(at: float, span: float) -> str:
    """Write epoch seconds as short as a span of this many seconds allows."""
    when = datetime.fromtimestamp(at, UTC)
    if span < 2 * _DAY:
        return f"{when:%H:%M}"
    return f"{when:%m-%d}" if span < 300 * _DAY else f"{when:%Y-%m}"
