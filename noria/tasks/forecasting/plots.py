"""Plots of forecasts, as small PNG files: errors and intervals by step, and a few forecasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.spec import ModelSpec
from noria.tasks.forecasting.fitting import Samples
from noria.tasks.forecasting.judged import levels_of, said_of
from noria.tasks.held_out import HeldOut
from noria.tasks.plots import BLUE, GREY, INK, titled, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_SHOWN: Final = 4
_SEASONS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """What the plots show: held-out samples, what was said of them, and the naive beside it."""

    samples: Samples
    said: pd.DataFrame
    beside: pd.DataFrame | None
    levels: tuple[int, ...]

    @property
    def horizon(self) -> int:
        """Steps of a forecast."""
        return int(self.samples.futures.shape[1])

    def errors(self, said: pd.DataFrame) -> Array:
        """Return the mean scaled error of each step, (h,)."""
        places = np.arange(len(said))
        found: Array = self.samples.errors(said_of(said, self.horizon), places).mean(axis=0)
        return found


def draw(folder: Path, spec: ModelSpec, samples: Samples, held_out: HeldOut) -> tuple[str, ...]:
    """Write the plots and return their file names.

    Raises:
        TrainingError: A file can't be written.
    """
    drawn = _Drawn(samples, held_out.model, held_out.baseline, levels_of(spec, held_out.model))
    plots: dict[str, Callable[[Figure, _Drawn], None]] = {
        "error-by-step.png": _errors,
        "forecasts.png": _forecasts,
    }
    if drawn.levels:
        plots["coverage-by-step.png"] = _coverage
    return write(folder, plots, drawn)


def _errors(figure: Figure, drawn: _Drawn) -> None:
    axes = titled(figure, "Error by step", "steps ahead", "mean scaled error (MASE)")
    steps = np.arange(1, drawn.horizon + 1)
    axes.plot(steps, drawn.errors(drawn.said), color=BLUE, marker="o", ms=3, label="model")
    if drawn.beside is not None:
        naive = drawn.errors(drawn.beside)
        axes.plot(steps, naive, color=GREY, marker="o", ms=3, label="seasonal naive")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _coverage(figure: Figure, drawn: _Drawn) -> None:
    axes = titled(figure, "Values within their intervals", "steps ahead", "share of the values")
    steps = np.arange(1, drawn.horizon + 1)
    shades = np.linspace(1.0, 0.45, len(drawn.levels))
    for level, shade in zip(drawn.levels, shades, strict=True):
        low, high = (said_of(drawn.said, drawn.horizon, f"{e}-{level}") for e in ("lower", "upper"))
        truth = drawn.samples.futures
        inside = ((truth >= low) & (truth <= high)).mean(axis=0)
        label = f"{level} % intervals"
        axes.plot(steps, inside, color=BLUE, alpha=shade, marker="o", ms=3, label=label)
        axes.axhline(level / 100, color=INK, lw=0.8, ls=":")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="lower left")


def _forecasts(figure: Figure, drawn: _Drawn) -> None:
    """Draw the forecasts whose errors lie evenly between the least and the greatest."""
    samples, horizon = drawn.samples, drawn.horizon
    said = said_of(drawn.said, horizon)
    rows = np.arange(len(said))
    order = np.argsort(samples.errors(said, rows).mean(axis=1), kind="stable")
    shown = order[np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).astype(int)]
    before = max(_SEASONS * samples.season, 2 * horizon)
    grid = figure.subplots(2, 2, squeeze=False).ravel()
    ahead = np.arange(1, horizon + 1)
    titles = ("least error", "smaller error", "greater error", "greatest error")
    for axes, row, title in zip(grid, shown, titles, strict=False):
        history = samples.raw[row, -before:]
        axes.plot(np.arange(1 - history.size, 1), history, color=GREY, lw=1)
        axes.plot(ahead, samples.futures[row], color=INK, lw=1, label="value")
        axes.plot(ahead, said[row], color=BLUE, lw=1.4, label="forecast")
        for level in drawn.levels[:1]:
            low, high = (
                said_of(drawn.said, horizon, f"{e}-{level}")[row] for e in ("lower", "upper")
            )
            axes.fill_between(ahead, low, high, color=BLUE, alpha=0.18, lw=0, label=f"{level} %")
        axes.set_title(title, fontsize=9, color=INK, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    grid[0].legend(frameon=False, fontsize=7)
