"""Who answered the requests over time, and what each detector noticed: two plots over time."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from noria.report.figures import Report
from noria.report.markup import Html, join, tag, text
from noria.report.plot import (
    Frame,
    event,
    outcome_mark,
    svg,
    time_axis,
    time_scale,
    value_axis,
)
from noria.report.svg import Scale
from noria.report.words import minute

_COLOURS: Final = 6
_LANE: Final = 30.0
_MIN_LABEL: Final = 26.0


def traffic_plots(report: Report) -> Html:
    """Draw the traffic weights as stacked steps, for a wide and a narrow screen."""
    return join(
        _traffic(report, Frame(1080, 220, left=52, right=96, top=10, bottom=28), "wide"),
        _traffic(report, Frame(400, 190, left=40, right=10, top=10, bottom=26), "narrow"),
    )


def timeline_plots(report: Report) -> Html:
    """Draw one lane per detector and one for the runs, for a wide and a narrow screen."""
    lanes = len({drift.detector for drift in report.drifts}) + 1
    height = lanes * _LANE + 38
    return join(
        _timeline(report, Frame(1080, height, left=52, right=96, top=8, bottom=28), "wide"),
        _timeline(report, Frame(400, height, left=92, right=10, top=8, bottom=28), "narrow"),
    )


def versions(report: Report) -> list[str]:
    """Return every version that ever had traffic, in the order in which they got it."""
    return list(dict.fromkeys(name for change in report.traffic for name in change.weights))


def _traffic(report: Report, frame: Frame, kind: str) -> Html:
    time = time_scale(report, frame)
    scale = Scale(0, 100, frame.y1, frame.y0)
    names = versions(report)
    ends = [*(change.at for change in report.traffic[1:]), time.last]
    # Champions stay at the bottom: who comes later is stacked on top.
    blocks: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in names}
    hovers = []
    for change, end in zip(report.traffic, ends, strict=False):
        below = 0.0
        x, width = time(change.at), time(end) - time(change.at)
        for name in names:
            weight = change.weights.get(name, 0)
            if weight:
                blocks[name].append((x, scale(below + weight), width, scale(below)))
                below += weight
        split = ", ".join(f"v{name} {weight} %" for name, weight in change.weights.items())
        hovers.append(
            tag("rect", tag("title", text(f"from {minute(change.at)}: {split}")), class_="hit",
                x=x, y=frame.y0, width=max(width, 1.0), height=frame.y1 - frame.y0)
        )  # fmt: skip
    areas, labels = [], []
    for index, name in enumerate(names):
        css = f"version v{index % _COLOURS}"
        for x, top, width, bottom in blocks[name]:
            areas.append(
                tag("rect", class_=css, x=x, y=top, width=max(width, 0.8), height=bottom - top)
            )
        widest = max(_joined(blocks[name]), key=lambda block: block[1], default=(0.0, 0.0))
        if widest[1] >= _MIN_LABEL:
            middle = widest[0] + widest[1] / 2
            labels.append(tag("text", text(f"v{name}"), class_="on mid", x=middle, y=scale(72)))
    return svg(
        frame,
        "Share of the requests that each version answered over time",
        kind,
        time_axis(frame, time, frame.y1 + 18),
        *areas,
        value_axis(frame, scale, [0, 50, 100]),
        *labels,
        *hovers,
    )


def _joined(blocks: list[tuple[float, float, float, float]]) -> list[tuple[float, float]]:
    """Merge neighbours at full weight, so that a label sits in the middle of a reign."""
    merged: list[tuple[float, float]] = []
    for x, _, width, _ in blocks:
        if merged and abs(merged[-1][0] + merged[-1][1] - x) < 1:
            merged[-1] = (merged[-1][0], merged[-1][1] + width)
        else:
            merged.append((x, width))
    return merged


def _timeline(report: Report, frame: Frame, kind: str) -> Html:
    time = time_scale(report, frame)
    lanes = list(dict.fromkeys(drift.detector for drift in report.drifts))
    middle = {name: frame.y0 + _LANE * (index + 0.5) for index, name in enumerate([*lanes, "runs"])}
    parts = [time_axis(frame, time, frame.y1 + 18)]
    edges = [frame.y0 + _LANE * index for index in range(len(lanes) + 2)]
    for upper, _ in pairwise(edges):
        parts.append(tag("line", class_="grid", x1=frame.x0, x2=frame.x1, y1=upper, y2=upper))
    for name, y in middle.items():
        side = {"class_": "tick", "x": frame.x1 + 8}
        if kind == "narrow":
            side = {"class_": "tick end", "x": frame.x0 - 10}
        parts.append(tag("text", text(name), y=y + 4, **side))
    for drift in report.drifts:
        said = f"{minute(drift.at)}: {drift.detector} {', '.join(drift.features)}"
        diamond = event("diamond", time(drift.at), middle[drift.detector], "drift", 6.5)
        parts.append(tag("g", tag("title", text(said)), diamond))
    for retrain in report.retrains:
        y = middle["runs"]
        start, end = time(retrain.at), time(retrain.decided or time.last)
        shape, css = outcome_mark(retrain.outcome)
        said = f"{minute(retrain.at)}: {retrain.reason}; {retrain.outcome}"
        parts.append(
            tag("g", tag("title", text(said)),
                tag("rect", class_=f"bar {css}", x=start, y=y - 4, width=max(end - start, 1.0),
                    height=8.0, rx=4),
                event("dot", start, y, css, 4.0), event(shape, end, y, css, 6.5))
        )  # fmt: skip
    return svg(frame, "What each detector noticed and the runs that followed", kind, *parts)
