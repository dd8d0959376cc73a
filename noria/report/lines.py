"""The weekly lines of one metric for each predictor, with what the loop did beneath."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from noria.report.figures import Metric, Report, Stretch
from noria.report.markup import Html, join, tag, text
from noria.report.plot import (
    Frame,
    TimeScale,
    event,
    outcome_mark,
    svg,
    time_axis,
    time_scale,
    value_axis,
)
from noria.report.svg import Scale, path, ticks
from noria.report.words import day, minute, number

_WIDE: Final = Frame(1080, 352, left=52, right=96, top=14, bottom=70)
_NARROW: Final = Frame(400, 300, left=40, right=10, top=12, bottom=66)
_OFF_SCALE: Final = 2.0
_LABEL_GAP: Final = 15.0
_TIP_ROW: Final = 17.0


def metric_plots(report: Report, metric: Metric) -> Html:
    """Draw one metric for a wide and a narrow screen."""
    return join(
        _plot(report, metric, _WIDE, "wide"),
        _plot(report, metric, _NARROW, "narrow"),
    )


def _plot(report: Report, metric: Metric, frame: Frame, kind: str) -> Html:
    time = time_scale(report, frame)
    scale, off_scale = _value_scale(report, metric, frame)
    label = f"{metric.title} over time for {', '.join(one.name for one in report.predictors)}"
    # The loop is drawn last, on top.
    drawn = [one.key for one in reversed(report.predictors) if one.key not in off_scale]
    lines = [
        path(
            [_point(week, metric, name, time, scale) for week in report.weeks],
            f"line {name}",
        )
        for name in drawn
    ]
    parts = [
        value_axis(frame, scale, ticks(scale.low, scale.high, 5)),
        time_axis(frame, time, frame.y1 + 18),
        _events(report, frame, time),
        *lines,
        _off_scale_note(report, metric, off_scale, frame),
    ]
    if kind == "wide":
        parts.append(_end_labels(report, metric, drawn, frame, scale))
        parts.append(_hover(report, metric, frame, time, scale))
    return svg(frame, label, kind, *parts)


def _point(
    week: Stretch, metric: Metric, name: str, time: TimeScale, scale: Scale
) -> tuple[float, float] | None:
    value = week.values[metric.key][name]
    if value is None:
        return None
    return time(week.start + (week.end - week.start) / 2), scale(value)


def _value_scale(report: Report, metric: Metric, frame: Frame) -> tuple[Scale, tuple[str, ...]]:
    """Fit the axis to the data; no-change may leave it when it would flatten the others."""
    by_name = {
        one.key: [v for week in report.weeks if (v := week.values[metric.key][one.key]) is not None]
        for one in report.predictors
    }
    models = [v for name, values in by_name.items() if name != "no_change" for v in values]
    if not models:
        return Scale(0.0, 1.0, frame.y1, frame.y0), ()
    low, high = min(models), max(models)
    off: tuple[str, ...] = ()
    if weak := by_name.get("no_change"):
        both = (min(low, *weak), max(high, *weak))
        if both[1] - both[0] <= _OFF_SCALE * max(high - low, 1e-9):
            low, high = both
        else:
            off = ("no_change",)
    pad = 0.06 * ((high - low) or 0.1)
    return Scale(low - pad, high + pad, frame.y1, frame.y0), off


def _off_scale_note(report: Report, metric: Metric, off: tuple[str, ...], frame: Frame) -> Html:
    if not off:
        return Html("")
    value = number(report.value("no_change", metric.key))
    said = f"{report.predictor('no_change').name} is off this scale: {value} over all rows"
    return tag("text", text(said), class_="note", x=frame.x0 + 8, y=frame.y1 - 8)


def _events(report: Report, frame: Frame, time: TimeScale) -> Html:
    drift_y, run_y = frame.y1 + 36, frame.y1 + 56
    parts = [
        tag("text", text("drift"), class_="tick end", x=frame.x0 - 8, y=drift_y + 4),
        tag("text", text("runs"), class_="tick end", x=frame.x0 - 8, y=run_y + 4),
    ]
    for drift in report.drifts:
        x = time(drift.at)
        said = f"{minute(drift.at)}: {drift.detector} drift {', '.join(drift.features)}"
        parts.append(
            tag(
                "g", tag("title", text(said)), event("diamond", x, drift_y, "drift"), class_="event"
            )
        )
    for retrain in report.retrains:
        x = time(retrain.decided or retrain.at)
        shape, css = outcome_mark(retrain.outcome)
        said = f"{minute(retrain.decided or retrain.at)}: {retrain.reason}, {retrain.outcome}"
        line = tag("line", class_=f"when {css}", x1=x, x2=x, y1=frame.y0, y2=run_y - 7)
        parts.append(
            tag("g", tag("title", text(said)), line, event(shape, x, run_y, css), class_="event")
        )
    return join(*parts)


def _end_labels(
    report: Report, metric: Metric, names: list[str], frame: Frame, scale: Scale
) -> Html:
    """Name the lines at their right ends, pushed apart where they would overlap."""
    ends = []
    for name in names:
        values = [week.values[metric.key][name] for week in report.weeks]
        last = next((value for value in reversed(values) if value is not None), None)
        if last is not None:
            ends.append((scale(last), name))
    ends.sort()
    places = [y for y, _ in ends]
    for _ in range(len(places) * 4):
        for upper, lower in pairwise(range(len(places))):
            overlap = _LABEL_GAP - (places[lower] - places[upper])
            if overlap > 0:
                places[upper] -= overlap / 2
                places[lower] += overlap / 2
    return join(
        *(
            tag(
                "text",
                text(report.predictor(name).short),
                class_=f"name {name}",
                x=frame.x1 + 8,
                y=y + 4,
            )
            for y, (_, name) in zip(places, ends, strict=True)
        )
    )


def _hover(report: Report, metric: Metric, frame: Frame, time: TimeScale, scale: Scale) -> Html:
    """Show a week's numbers while the pointer is over it; plain CSS, no script."""
    weeks = []
    height = 28 + _TIP_ROW * len(report.predictors)
    for week in report.weeks:
        left, right = time(week.start), time(week.end)
        middle = (left + right) / 2
        box_x = middle + 10 if middle < frame.width / 2 else middle - 178
        rows = [
            tag("text", text(f"From {day(week.start)}, {week.rows} rows"), class_="tip head",
                x=box_x + 10, y=frame.y0 + 24.0),
        ]  # fmt: skip
        dots = []
        for index, one in enumerate(report.predictors):
            name = one.key
            y = frame.y0 + 43.0 + _TIP_ROW * index
            rows.append(tag("text", text(one.short), class_=f"tip name {name}", x=box_x + 10, y=y))
            value = week.values[metric.key][name]
            rows.append(tag("text", text(number(value)), class_="tip end", x=box_x + 158, y=y))
            if value is not None and frame.y0 <= scale(value) <= frame.y1:
                dots.append(tag("circle", class_=f"dot {name}", cx=middle, cy=scale(value), r=4.0))
        weeks.append(
            tag(
                "g",
                tag("rect", class_="hit", x=left, y=frame.y0, width=right - left,
                    height=frame.y1 - frame.y0),
                tag(
                    "g",
                    tag("line", class_="cursor", x1=middle, x2=middle, y1=frame.y0, y2=frame.y1),
                    *dots,
                    tag("rect", class_="box", x=box_x, y=frame.y0 + 6, width=168.0, height=height,
                        rx=6),
                    *rows,
                    class_="shown",
                ),
                class_="week",
            )
        )  # fmt: skip
    return join(*weeks)
