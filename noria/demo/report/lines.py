"""The weekly lines of one metric for the four predictors, with what the loop did beneath."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Final

from noria.demo.figures import PREDICTORS, Figures, Period, Scores
from noria.demo.report.markup import Html, join, tag, text
from noria.demo.report.plot import (
    Frame,
    Scale,
    TimeScale,
    mark,
    month_axis,
    outcome_mark,
    path,
    svg,
    ticks,
    time_scale,
    value_axis,
    week_start,
)
from noria.demo.report.words import NAMES, SHORT, day, minute, number

_WIDE: Final = Frame(1080, 352, left=52, right=96, top=14, bottom=70)
_NARROW: Final = Frame(400, 300, left=40, right=10, top=12, bottom=66)
_HALF_WEEK: Final = timedelta(days=3.5)
_OFF_SCALE: Final = 2.0
_LABEL_GAP: Final = 15.0
# The loop is drawn last, on top.
_DRAWN: Final = ("no_change", "frozen", "monthly", "loop")


def metric_plots(figures: Figures, metric: str, title: str) -> Html:
    """Draw ``metric`` (``auc``, ``log_loss`` or ``accuracy``) for a wide and a narrow screen."""
    return join(
        _plot(figures, metric, title, _WIDE, "wide"),
        _plot(figures, metric, title, _NARROW, "narrow"),
    )


def _plot(figures: Figures, metric: str, title: str, frame: Frame, kind: str) -> Html:
    time = time_scale(figures, frame)
    scale, off_scale = _value_scale(figures, metric, frame)
    label = f"{title} by week for the loop, the frozen model, the monthly retrain and no-change"
    drawn = [name for name in _DRAWN if name not in off_scale]
    lines = [
        path(
            [_point(week, _scores(week, metric), name, time, scale) for week in figures.weeks],
            f"line {name}",
        )
        for name in drawn
    ]
    parts = [
        value_axis(frame, scale, ticks(scale.low, scale.high, 5)),
        month_axis(frame, time, frame.y1 + 18),
        _events(figures, frame, time),
        *lines,
        _off_scale_note(figures, metric, off_scale, frame),
    ]
    if kind == "wide":
        parts.append(_end_labels(figures, metric, drawn, frame, scale))
        parts.append(_hover(figures, metric, frame, time, scale))
    return svg(frame, label, kind, *parts)


def _scores(week: Period, metric: str) -> Scores:
    scores: Scores = getattr(week, metric)
    return scores


def _point(
    week: Period, scores: Scores, name: str, time: TimeScale, scale: Scale
) -> tuple[float, float] | None:
    value = scores.of(name)
    if value is None:
        return None
    return time(week_start(week.name) + _HALF_WEEK), scale(value)


def _value_scale(figures: Figures, metric: str, frame: Frame) -> tuple[Scale, tuple[str, ...]]:
    """Fit the axis to the data; no-change may leave it when it would flatten the other three."""
    by_name = {
        name: [v for week in figures.weeks if (v := _scores(week, metric).of(name)) is not None]
        for name in PREDICTORS
    }
    models = [v for name, values in by_name.items() if name != "no_change" for v in values]
    if not models:
        return Scale(0.0, 1.0, frame.y1, frame.y0), ()
    low, high = min(models), max(models)
    off: tuple[str, ...] = ()
    if by_name["no_change"]:
        both = (min(low, *by_name["no_change"]), max(high, *by_name["no_change"]))
        if both[1] - both[0] <= _OFF_SCALE * max(high - low, 1e-9):
            low, high = both
        else:
            off = ("no_change",)
    pad = 0.06 * ((high - low) or 0.1)
    return Scale(low - pad, high + pad, frame.y1, frame.y0), off


def _off_scale_note(figures: Figures, metric: str, off: tuple[str, ...], frame: Frame) -> Html:
    if not off:
        return Html("")
    overall: Scores = getattr(figures, metric)
    said = f"{NAMES['no_change']} is off this scale: {number(overall.no_change)} over the year"
    return tag("text", text(said), class_="note", x=frame.x0 + 8, y=frame.y1 - 8)


def _events(figures: Figures, frame: Frame, time: TimeScale) -> Html:
    drift_y, run_y = frame.y1 + 36, frame.y1 + 56
    parts = [
        tag("text", text("drift"), class_="tick end", x=frame.x0 - 8, y=drift_y + 4),
        tag("text", text("runs"), class_="tick end", x=frame.x0 - 8, y=run_y + 4),
    ]
    for drift in figures.drifts:
        x = time(drift.at)
        said = f"{minute(drift.at)}: {drift.detector} drift {', '.join(drift.features)}"
        parts.append(
            tag("g", tag("title", text(said)), mark("diamond", x, drift_y, "drift"), class_="event")
        )
    for retrain in figures.retrain_log:
        x = time(retrain.decided or retrain.at)
        shape, css = outcome_mark(retrain.outcome)
        said = f"{minute(retrain.decided or retrain.at)}: {retrain.reason}, {retrain.outcome}"
        line = tag("line", class_=f"when {css}", x1=x, x2=x, y1=frame.y0, y2=run_y - 7)
        parts.append(
            tag("g", tag("title", text(said)), line, mark(shape, x, run_y, css), class_="event")
        )
    return join(*parts)


def _end_labels(
    figures: Figures, metric: str, names: list[str], frame: Frame, scale: Scale
) -> Html:
    """Name the lines at their right ends, pushed apart where they would overlap."""
    ends = []
    for name in names:
        values = [_scores(week, metric).of(name) for week in figures.weeks]
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
            tag("text", text(SHORT[name]), class_=f"name {name}", x=frame.x1 + 8, y=y + 4)
            for y, (_, name) in zip(places, ends, strict=True)
        )
    )


def _hover(figures: Figures, metric: str, frame: Frame, time: TimeScale, scale: Scale) -> Html:
    """Show a week's numbers while the pointer is over it; plain CSS, no script."""
    weeks = []
    for week in figures.weeks:
        start = week_start(week.name)
        left, right = time(start), time(start + 2 * _HALF_WEEK)
        middle = time(start + _HALF_WEEK)
        scores = _scores(week, metric)
        box_x = middle + 10 if middle < frame.width / 2 else middle - 178
        rows = [
            tag("text", text(f"Week of {day(start)}, {week.rows} rows"), class_="tip head",
                x=box_x + 10, y=frame.y0 + 24.0),
        ]  # fmt: skip
        dots = []
        for index, name in enumerate(PREDICTORS):
            y = frame.y0 + 43.0 + 17 * index
            rows.append(
                tag("text", text(SHORT[name]), class_=f"tip name {name}", x=box_x + 10, y=y)
            )
            value = scores.of(name)
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
                    tag("rect", class_="box", x=box_x, y=frame.y0 + 6, width=168.0, height=96.0,
                        rx=6),
                    *rows,
                    class_="shown",
                ),
                class_="week",
            )
        )  # fmt: skip
    return join(*weeks)
