"""What each candidate gained over its champion at the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from noria.loop.state import Outcome, Result
from noria.report.svg import Scale, label_of, padded, step_of, ticks
from noria.ui.plots.canvas import WIDTH, Canvas

SUFFIX = "-champion"
"""How the name of a gate ends that compares with the champion; before it is the metric."""

_LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 96.0, 120.0, 8.0, 22.0, 38.0


@dataclass(frozen=True, slots=True)
class GainWords:
    """The words of the plot: its title, its axis, and how a candidate ended."""

    title: str
    axis: str
    results: dict[str, str]


@dataclass(frozen=True, slots=True)
class Gain:
    """A candidate's gain in one metric. ``bound``: what its gate asked for."""

    version: str
    metric: str
    value: float
    bound: float | None
    result: Result


def gains(outcomes: Sequence[Outcome]) -> tuple[Gain, ...]:
    """Return the gains that were measured, oldest candidate first."""
    return tuple(
        Gain(
            outcome.version, gate.name.removesuffix(SUFFIX), gate.value, gate.bound, outcome.result
        )
        for outcome in outcomes
        for gate in outcome.gates
        if gate.name.endswith(SUFFIX) and gate.value is not None
    )


def gain_plot(found: Sequence[Gain], words: GainWords) -> Markup | None:
    """Draw a row for each gain; None without any."""
    if not found:
        return None
    bottom = _TOP + _ROW * len(found)
    canvas = Canvas(WIDTH, bottom + _BOTTOM, words.title, kind="plot gains")
    edges = [g.value for g in found] + [g.bound for g in found if g.bound is not None] + [0.0]
    low, high = padded(edges)
    x = Scale(low, high, _LEFT, WIDTH - _RIGHT)
    marks = ticks(low, high, 6)
    step = step_of(marks)
    for value in marks:
        canvas.line((x(value), _TOP), (x(value), bottom), "grid")
        canvas.text((x(value), bottom + 15), label_of(value, step), "label", "middle")
    canvas.line((x(0.0), _TOP), (x(0.0), bottom), "tick")
    for number, gain in enumerate(found):
        y = _TOP + _ROW * (number + 0.5)
        _row(canvas, gain, x, y, words)
    canvas.text((_LEFT, bottom + 32), words.axis, "axis")
    return canvas.markup()


def _row(canvas: Canvas, gain: Gain, x: Scale, y: float, words: GainWords) -> None:
    canvas.text((_LEFT - 8, y + 4), f"v{gain.version} {gain.metric}", "label", "end")
    kind = "champion" if gain.result is Result.PROMOTED else "lost"
    canvas.line((x(0.0), y), (x(gain.value), y), f"stem {kind}")
    if gain.bound is not None:
        at = x(gain.bound)
        canvas.line((at, y - 7), (at, y + 7), "limit")
    tip = f"v{gain.version} {gain.metric} {gain.value:+.4f}"
    if gain.result is Result.PROMOTED:
        canvas.dot((x(gain.value), y), 4.4, kind, tip)
    else:
        canvas.diamond((x(gain.value), y), 4.8, kind, tip)
    said = f"{gain.value:+.3f} {words.results[gain.result.value]}"
    canvas.text((WIDTH - _RIGHT + 8, y + 4), said, "label")
