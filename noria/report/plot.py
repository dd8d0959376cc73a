"""The frame and the axes that the report's plots share, and what their marks mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from noria.report.figures import Report
from noria.report.markup import Html, join, tag, text
from noria.report.svg import Scale, label_of, mark, step_of

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
    step = step_of(values)
    lines = []
    for value in values:
        y = scale(value)
        lines.append(tag("line", class_="grid", x1=frame.x0, x2=frame.x1, y1=y, y2=y))
        lines.append(
            tag("text", text(label_of(value, step)), class_="tick end", x=frame.x0 - 8, y=y + 4)
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


def event(shape: str, x: float, y: float, css: str, size: float = 5.0) -> Html:
    """Draw what happened, by a shape of ``noria.report.svg.mark``."""
    kind = f"mark stroke {css}" if shape == "cross" else f"mark {css}"
    return mark(shape, x, y, kind, size * 0.8 if shape == "dot" else size)


def outcome_mark(outcome: str) -> tuple[str, str]:
    """Return the shape and the class of a retrain's mark."""
    return {
        "promoted": ("up", "promoted"),
        "refused": ("cross", "refused"),
        "aborted": ("down", "aborted"),
        "failed": ("cross", "aborted"),
    }.get(outcome, ("dot", "undecided"))
