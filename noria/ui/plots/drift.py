"""Drift of every feature over the windows, as a map of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from noria.places.watched import DetectorResult, DriftWindow
from noria.ui.plots.canvas import WIDTH, Canvas, day_or_time, moment

BANDS: Final = (0.05, 0.1, 0.2, 0.3)
"""Where one shade of the effect ends and the next begins."""

_LEFT, _TOP, _ROW = 132.0, 26.0, 19.0
_LEGEND = 64.0
_MOST_ROWS: Final = 30
_WIDEST_CELL: Final = 34.0


@dataclass(frozen=True, slots=True)
class DriftWords:
    """The words of the plot in the reader's language."""

    title: str
    effect: str
    alarm: str
    windows: str
    not_listed: str


@dataclass(frozen=True, slots=True)
class _Cell:
    effect: float | None
    alarm: bool
    tip: str


_Column = tuple[float, str, dict[str, _Cell]]


def drift_map(
    streams: Sequence[Sequence[DriftWindow]], features: int, words: DriftWords
) -> Markup | None:
    """Draw rows of features and columns of windows; None when no window was judged.

    Args:
        streams: The windows of each, oldest first.
        features: How many features are tested together: the threshold is shared by them.
        words: The reader's.
    """
    columns = _columns(streams, features)
    rows = _rows(columns)
    if not rows:
        return None
    width = min((WIDTH - _LEFT) / len(columns), _WIDEST_CELL)
    bottom = _TOP + _ROW * len(rows)
    canvas = Canvas(WIDTH, bottom + _LEGEND, words.title, kind="plot drift")
    for index, name in enumerate(rows):
        y = _TOP + _ROW * index
        canvas.text((_LEFT - 8, y + _ROW - 5.5), _short(name), "label", "end")
        for number, (_, _, cells) in enumerate(columns):
            x = _LEFT + width * number
            _draw(canvas, (x, y, width, _ROW), cells.get(name), words)
    _versions(canvas, columns, width)
    _times(canvas, columns, width, bottom)
    canvas.text((_LEFT, bottom + 32), words.windows, "axis")
    _legend(canvas, bottom + 44, words)
    return canvas.markup()


def _columns(streams: Sequence[Sequence[DriftWindow]], features: int) -> list[_Column]:
    """Give each window of the first stream a column; the others' windows join the nearest one.

    Each stream is cut at its own rows, so their windows end at different times.
    """
    first, *others = [stream for stream in streams if stream] or [()]
    columns: list[_Column] = [
        (w.at, next((r.version for r in w.drift.values()), ""), _cells(w, features)) for w in first
    ]
    for window in (window for stream in others for window in stream):
        cells = _cells(window, features)
        free = [column for column in columns if not column[2].keys() & cells.keys()]
        if free:
            min(free, key=lambda column: abs(column[0] - window.at))[2].update(cells)
    return columns


def _cells(window: DriftWindow, features: int) -> dict[str, _Cell]:
    found: dict[str, _Cell] = {}
    for detector, result in window.drift.items():
        found.update(_cells_of(detector, result, features))
    return found


def _cells_of(detector: str, result: DetectorResult, features: int) -> dict[str, _Cell]:
    when = moment(result.at)
    if not result.features:
        tip = _tip(detector, when, result.kind, result.effect, result.p_value)
        return {f"{detector} ({result.kind})": _Cell(result.effect, result.drift, tip)}
    shared = result.threshold / max(features, len(result.features))
    return {
        f.name: _Cell(
            f.effect,
            result.drift and f.p_value is not None and f.p_value <= shared,
            _tip(f.name, when, f.test, f.effect, f.p_value),
        )
        for f in result.features
    }


def _tip(name: str, when: str, test: str, effect: float | None, p_value: float | None) -> str:
    said = "–" if effect is None else f"{effect:.3f}"
    chance = "" if p_value is None else f", p {p_value:.2g}"
    return f"{name}, {when} UTC: {test} {said}{chance}"


def _rows(columns: Sequence[_Column]) -> list[str]:
    """Return what drifted most first."""
    total: dict[str, tuple[int, float]] = {}
    for _, _, cells in columns:
        for name, cell in cells.items():
            alarms, effect = total.get(name, (0, 0.0))
            total[name] = (alarms + cell.alarm, effect + (cell.effect or 0.0))
    return sorted(total, key=lambda name: total[name], reverse=True)[:_MOST_ROWS]


def _draw(
    canvas: Canvas, box: tuple[float, float, float, float], cell: _Cell | None, words: DriftWords
) -> None:
    x, y, width, height = box
    inner = (x + 0.75, y + 0.75, max(1.0, width - 1.5), height - 1.5)
    if cell is None:
        canvas.rect(inner, "cell absent", words.not_listed)
        return
    canvas.rect(inner, f"cell q{_band(cell.effect)}", cell.tip)
    if cell.alarm:
        canvas.diamond((x + width / 2, y + height / 2), min(3.6, width / 2.6), "alarm", cell.tip)


def _band(effect: float | None) -> int:
    if effect is None or not math.isfinite(effect):
        return 0
    return sum(effect >= band for band in BANDS)


def _versions(canvas: Canvas, columns: Sequence[_Column], width: float) -> None:
    """Mark where the watched version, and with it the reference, changed."""
    before, free = "", 0.0
    for number, (_, version, _) in enumerate(columns):
        x = _LEFT + width * number
        if version != before:
            if before:
                canvas.line((x, _TOP - 8), (x, _TOP), "tick")
            if x >= free:
                canvas.text((x + 2, _TOP - 11), f"v{version}", "label")
                free = x + 22
            before = version


def _times(canvas: Canvas, columns: Sequence[_Column], width: float, bottom: float) -> None:
    span = columns[-1][0] - columns[0][0]
    every = max(1, math.ceil(len(columns) / 9), math.ceil(52 / width))
    for number in range(0, len(columns), every):
        x = _LEFT + width * (number + 0.5)
        canvas.line((x, bottom), (x, bottom + 4), "tick")
        canvas.text((x, bottom + 16), day_or_time(columns[number][0], span), "label", "middle")


def _legend(canvas: Canvas, y: float, words: DriftWords) -> None:
    edges = (0.0, *BANDS)
    x = _LEFT
    canvas.text((x - 8, y + 9.5), words.effect, "label", "end")
    for number, edge in enumerate(edges):
        last = number == len(edges) - 1
        canvas.rect((x, y, 16, 12), f"cell q{number}")
        said = f"≥ {edge:g}" if last else f"{edge:g}–{edges[number + 1]:g}"
        canvas.text((x + 21, y + 9.5), said, "label")
        x += 82
    canvas.rect((x, y, 16, 12), "cell q0")
    canvas.diamond((x + 8, y + 6), 3.6, "alarm")
    canvas.text((x + 21, y + 9.5), words.alarm, "label")


def _short(name: str, most: int = 19) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
