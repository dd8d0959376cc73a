"""Scales, axes and marks of the page's plots, drawn as SVG strings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from noria.report.figures import Report
from noria.report.markup import Html, join, tag, text

_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_WEEK: Final = timedelta(days=7)
_LITTLE: Final = timedelta(days=4)
_MANY_DAYS: Final = 80
_ONE_YEAR: Final = 366
_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120)
_WIDE: Final = 600
_LABELS: Final = 14


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
    """A map from times to pixels, from the first row to the last."""

    first: datetime
    last: datetime
    start: float
    end: float

    def __call__(self, at: datetime) -> float:
        """Return the pixel of ``at``, kept within the axis."""
        share = (at - self.first) / ((self.last - self.first) or _WEEK)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def steps(self, most: int) -> list[tuple[datetime, str]]:
        """Return at most ``most`` round times within the scale, each with its name."""
        days = (self.last - self.first).days
        if days < _MANY_DAYS:
            step = timedelta(days=max(1, -(-days // most)))
            day = self.first.replace(hour=0, minute=0, second=0, microsecond=0)
            found = []
            while day <= self.last:
                found.append((day, f"{day.day} {day:%b}"))
                day += step
            return [(at, name) for at, name in found if at >= self.first]
        months = [self.first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)]
        while months[-1] <= self.last:
            months.append((months[-1] + timedelta(days=32)).replace(day=1))
        within = [m for m in months if self.first - _LITTLE <= m <= self.last]
        step_months = next((n for n in _MONTHS if len(within) <= n * most), _MONTHS[-1])
        kept = [m for m in within if (m.month - 1 + 12 * m.year) % step_months == 0]
        style = "%b" if days < _ONE_YEAR else "%b %y" if step_months < _MONTHS[4] else "%Y"
        return [(m, f"{m:{style}}") for m in kept]


def time_scale(report: Report, frame: Frame) -> TimeScale:
    """Return the time axis that every plot of the page shares."""
    times = [at for week in report.weeks for at in (week.start, week.end)]
    times += [drift.at for drift in report.drifts]
    times += [retrain.at for retrain in report.retrains]
    times += [change.at for change in report.traffic]
    if not times:
        times = [datetime.fromtimestamp(0, UTC)]
    return TimeScale(min(times), max(times), frame.x0, frame.x1)


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


def time_axis(frame: Frame, time: TimeScale, y: float) -> Html:
    """Draw the times' names at ``y`` and a faint line where each begins."""
    is_wide = frame.width >= _WIDE
    steps = time.steps(_LABELS if is_wide else _LABELS // 2)
    lines = []
    for index, (at, name) in enumerate(steps):
        x = time(at)
        following = time(steps[index + 1][0]) if index + 1 < len(steps) else frame.x1
        lines.append(tag("line", class_="grid faint", x1=x, x2=x, y1=frame.y0, y2=frame.y1))
        if following - x > 8 * len(name):
            middle = (x + following) / 2
            lines.append(tag("text", text(name), class_="tick mid", x=middle, y=y))
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
