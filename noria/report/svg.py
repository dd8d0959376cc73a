"""What plots are made of, as SVG strings: scales, round ticks, lines and marks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from noria.report.markup import Html, tag, text

_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values [low, high] to pixels [start, end]; outside, it goes on."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``; the middle where all values are one."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """Return bounds with some room on both sides."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(low) * share or 0.5
    return low - room, high + room


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return about ``wanted`` round numbers within [low, high]; ``low`` alone where none can be."""
    rough = (high - low) / max(1, wanted)
    if not (math.isfinite(rough) and rough > 0):
        return [low]
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * magnitude for nice in _NICE if nice * magnitude >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def label_of(value: float, step: float) -> str:
    """Write a tick with as many digits as its neighbours, ``step`` apart, need to differ."""
    if step <= 0:
        return f"{value:.2f}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    if round(step, digits) != round(step, digits + 2):
        digits += 1
    return f"{value:.{digits}f}"


def step_of(values: Sequence[float]) -> float:
    """Return how far ticks are apart; 0.1 of a single one."""
    return values[1] - values[0] if len(values) > 1 else 0.1


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


def mark(shape: str, x: float, y: float, css: str, size: float = 5.0, tip: str = "") -> Html:
    """Draw one event: ``diamond``, ``up``, ``down``, ``cross`` or ``dot``; colour never alone."""
    s = size
    said = tip_of(tip)
    if shape == "dot":
        return tag("circle", said, class_=css, cx=x, cy=y, r=s)
    if shape == "cross":
        d = f"M{x - s:.1f} {y - s:.1f}L{x + s:.1f} {y + s:.1f}M{x - s:.1f} {y + s:.1f}"
        return tag("path", said, class_=css, d=f"{d}L{x + s:.1f} {y - s:.1f}")
    corners = {
        "diamond": [(0, -s), (s, 0), (0, s), (-s, 0)],
        "up": [(0, -s), (s, s * 0.8), (-s, s * 0.8)],
        "down": [(0, s), (s, -s * 0.8), (-s, -s * 0.8)],
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return tag("polygon", said, class_=css, points=points)


def tip_of(tip: str) -> Html:
    """Return what a pointer that rests on an element shows; nothing for no text."""
    return tag("title", text(tip)) if tip else Html("")
