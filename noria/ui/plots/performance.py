"""One metric of every champion over its windows, with intervals, against what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from noria.places.watched import PerformanceWindow
from noria.report.svg import Scale, label_of, padded, step_of, ticks
from noria.ui.plots.canvas import Canvas, day_or_time, moment
from noria.ui.plots.traffic import role

_WIDTH, _HEIGHT = 560.0, 160.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 98.0, 22.0, 40.0
_TIMES = 5


@dataclass(frozen=True, slots=True)
class Goal:
    """What a metric is held against. ``limit``: the worst value that is no signal."""

    expected: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class PerformanceWords:
    """The words of the plot in the reader's language."""

    title: str
    expected: str
    limit: str
    time: str
    rows: str


@dataclass(frozen=True, slots=True)
class _Point:
    at: float
    version: str
    value: float
    low: float
    high: float
    samples: int


def performance_plot(
    metric: str,
    windows: Mapping[str, Sequence[PerformanceWindow]],
    champion: str | None,
    candidate: str | None,
    goal: Goal,
    words: PerformanceWords,
) -> Markup | None:
    """Draw one metric; None when no window has a value of it."""
    points = _points(metric, windows)
    if not points:
        return None
    canvas = Canvas(_WIDTH, _TOP + _HEIGHT + _BOTTOM, words.title)
    goals = [g for g in (goal.expected, goal.limit) if g is not None]
    edges = [edge for p in points for edge in (p.low, p.high)]
    low, high = padded([*edges, *goals])
    # Clear of the frame, so that the first and the last interval are seen whole.
    times = padded([p.at for p in points], 0.02) if len(points) > 1 else _around(points[0].at)
    x = Scale(times[0], times[1], _LEFT, _WIDTH - _RIGHT)
    y = Scale(low, high, _TOP + _HEIGHT, _TOP)
    _axes(canvas, x, y, words)
    _goals(canvas, points, champion, goal, (x, y), words)
    for version in dict.fromkeys(p.version for p in points):
        mine = [p for p in points if p.version == version]
        _series(canvas, mine, role(version, champion, candidate), (x, y), words)
    _names(canvas, points, x)
    return canvas.markup()


def _points(metric: str, windows: Mapping[str, Sequence[PerformanceWindow]]) -> list[_Point]:
    found = []
    for version, seen in windows.items():
        for window in seen:
            measured = window.metrics.get(metric)
            if measured is None or measured.value is None:
                continue
            value = measured.value
            low = value if measured.low is None else measured.low
            high = value if measured.high is None else measured.high
            found.append(_Point(window.at, version, value, low, high, measured.samples))
    return sorted(found, key=lambda p: p.at)


def _around(at: float) -> tuple[float, float]:
    return at - 3600.0, at + 3600.0


def _axes(canvas: Canvas, x: Scale, y: Scale, words: PerformanceWords) -> None:
    marks = ticks(y.low, y.high)
    step = step_of(marks)
    for value in marks:
        canvas.line((_LEFT, y(value)), (_WIDTH - _RIGHT, y(value)), "grid")
        canvas.text((_LEFT - 7, y(value) + 4), label_of(value, step), "label", "end")
    bottom = _TOP + _HEIGHT
    canvas.line((_LEFT, bottom), (_WIDTH - _RIGHT, bottom), "tick")
    for number in range(_TIMES):
        at = x.low + (x.high - x.low) * (number + 0.5) / _TIMES
        canvas.line((x(at), bottom), (x(at), bottom + 4), "tick")
        canvas.text((x(at), bottom + 16), day_or_time(at, x.high - x.low), "label", "middle")
    canvas.text((_LEFT, bottom + 33), words.time, "axis")


def _goals(
    canvas: Canvas,
    points: Sequence[_Point],
    champion: str | None,
    goal: Goal,
    scales: tuple[Scale, Scale],
    words: PerformanceWords,
) -> None:
    """Draw the lines from the champion's first window on, with their names at the end."""
    x, y = scales
    since = min((p.at for p in points if p.version == champion), default=x.low)
    right = _WIDTH - _RIGHT
    named: list[float] = []
    for value, said, kind in (
        (goal.expected, words.expected, "expected"),
        (goal.limit, words.limit, "limit"),
    ):
        if value is None:
            continue
        canvas.line((x(since), y(value)), (right, y(value)), kind)
        at = y(value) + 4
        if named and abs(at - named[0]) < 13:
            at = named[0] + (13 if at >= named[0] else -13)
        named.append(at)
        canvas.text((right + 6, at), f"{said} {value:.3g}", f"label {kind}")


def _series(
    canvas: Canvas,
    points: Sequence[_Point],
    kind: str,
    scales: tuple[Scale, Scale],
    words: PerformanceWords,
) -> None:
    x, y = scales
    for p in points:
        canvas.line((x(p.at), y(p.low)), (x(p.at), y(p.high)), f"interval {kind}")
    if len(points) > 1:
        canvas.path([(x(p.at), y(p.value)) for p in points], f"line {kind}")
    for p in points:
        said = (
            f"v{p.version}, {moment(p.at)} UTC: {p.value:.4f} [{p.low:.4f}, {p.high:.4f}], "
            f"{p.samples} {words.rows}"
        )
        at = (x(p.at), y(p.value))
        if kind == "candidate":
            canvas.diamond(at, 4.4, kind, said)
        else:
            canvas.dot(at, 3.4, kind, said)


def _names(canvas: Canvas, points: Sequence[_Point], x: Scale) -> None:
    """Name each version above its first window, where there is room."""
    free = 0.0
    for version in dict.fromkeys(p.version for p in points):
        first = next(p for p in points if p.version == version)
        at = x(first.at)
        canvas.line((at, _TOP - 6), (at, _TOP), "tick")
        if at >= free:
            canvas.text((at, _TOP - 9), f"v{version}", "label", "middle")
            free = at + 22
