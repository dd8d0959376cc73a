"""Scales, axes and marks of the page's plots, drawn as SVG strings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from noria.demo.figures import Figures
from noria.demo.report.markup import Html, join, tag, text

_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_WEEK: Final = timedelta(days=7)
_WIDE_MONTHS: Final = 600


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a plot in pixels and the margins around its inner area."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    @property
    def x0(self) -> float:
        """Left edge of the inner area."""
        return self.left

    @property
    def x1(self) -> float:
        """Right edge of the inner area."""
        return self.width - self.right

    @property
    def y0(self) -> float:
        """Top edge of the inner area."""
        return self.top

    @property
    def y1(self) -> float:
        """Bottom edge of the inner area."""
        return self.height - self.bottom


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values [low, high] to pixels [start, end]; outside, it goes on."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``."""
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class TimeScale:
    """A map from times to pixels, from the first replayed day to the last."""

    first: datetime
    last: datetime
    start: float
    end: float

    def __call__(self, at: datetime) -> float:
        """Return the pixel of ``at``, kept within the axis."""
        share = (at - self.first) / ((self.last - self.first) or _WEEK)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def months(self) -> list[datetime]:
        """Return the first of every month within the scale."""
        month = self.first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        found = []
        while month <= self.last:
            if month >= self.first - timedelta(days=4):
                found.append(month)
            month = (month + timedelta(days=32)).replace(day=1)
        return found


def week_start(name: str) -> datetime:
    """Return the Monday that a week is called by."""
    return datetime.fromisoformat(name).replace(tzinfo=UTC)


def time_scale(figures: Figures, frame: Frame) -> TimeScale:
    """Return the time axis that every plot of the page shares."""
    times = [week_start(week.name) for week in figures.weeks]
    times += [drift.at for drift in figures.drifts]
    times += [retrain.at for retrain in figures.retrain_log]
    times += [change.at for change in figures.traffic]
    if not times:
        times = [datetime.fromtimestamp(0, UTC)]
    first = min(times)
    last = max([*times, *(week_start(week.name) + _WEEK for week in figures.weeks)])
    return TimeScale(first, last, frame.x0, frame.x1)


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return about ``wanted`` round numbers within [low, high]."""
    rough = ((high - low) or 1.0) / max(wanted, 1)
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(nice * magnitude for nice in _NICE if nice * magnitude >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def svg(frame: Frame, label: str, kind: str, *children: Html) -> Html:
    """Wrap a drawing; ``kind`` is ``wide`` or ``narrow``, and the page shows the one that fits."""
    return tag(
        "svg",
        *children,
        class_=f"plot {kind}",
        viewBox=f"0 0 {frame.width:g} {frame.height:g}",
        role="img",
        aria_label=label,
    )


def value_axis(frame: Frame, scale: Scale, values: Sequence[float]) -> Html:
    """Draw the horizontal grid lines and their numbers."""
    step = values[1] - values[0] if len(values) > 1 else 0.1
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    if round(step, digits) != round(step, digits + 2):
        digits += 1
    lines = []
    for value in values:
        y = scale(value)
        lines.append(tag("line", class_="grid", x1=frame.x0, x2=frame.x1, y1=y, y2=y))
        lines.append(
            tag("text", text(f"{value:.{digits}f}"), class_="tick end", x=frame.x0 - 8, y=y + 4)
        )
    return join(*lines)


def month_axis(frame: Frame, time: TimeScale, y: float) -> Html:
    """Draw the months' names at ``y`` and a faint line where each month begins."""
    months = time.months()
    letters = 3 if frame.width >= _WIDE_MONTHS else 1
    lines = []
    for index, month in enumerate(months):
        x = time(month)
        following = time(months[index + 1]) if index + 1 < len(months) else frame.x1
        lines.append(tag("line", class_="grid faint", x1=x, x2=x, y1=frame.y0, y2=frame.y1))
        if following - x > 8 * letters:
            name = text(f"{month:%b}"[:letters])
            lines.append(tag("text", name, class_="tick mid", x=(x + following) / 2, y=y))
    return join(*lines)


def path(points: Iterable[tuple[float, float] | None], css: str) -> Html:
    """Draw a line through ``points``, broken where one is None."""
    commands, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        commands.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        pen = "L"
    return tag("path", class_=css, d="".join(commands))


def mark(shape: str, x: float, y: float, css: str, size: float = 5.0) -> Html:
    """Draw one event: ``diamond``, ``up``, ``down``, ``cross`` or ``dot``; colour never alone."""
    s = size
    if shape == "dot":
        return tag("circle", class_=f"mark {css}", cx=x, cy=y, r=s * 0.8)
    if shape == "cross":
        d = f"M{x - s:.1f} {y - s:.1f}L{x + s:.1f} {y + s:.1f}M{x - s:.1f} {y + s:.1f}"
        return tag("path", class_=f"mark stroke {css}", d=f"{d}L{x + s:.1f} {y - s:.1f}")
    corners = {
        "diamond": [(0, -s), (s, 0), (0, s), (-s, 0)],
        "up": [(0, -s), (s, s * 0.8), (-s, s * 0.8)],
        "down": [(0, s), (s, -s * 0.8), (-s, -s * 0.8)],
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return tag("polygon", class_=f"mark {css}", points=points)


def outcome_mark(outcome: str) -> tuple[str, str]:
    """Return the shape and the class of a retrain's mark."""
    return {
        "promoted": ("up", "promoted"),
        "refused": ("cross", "refused"),
        "aborted": ("down", "aborted"),
        "failed": ("cross", "aborted"),
    }.get(outcome, ("dot", "undecided"))
