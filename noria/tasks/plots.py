"""Plots as small PNG files, the same bytes for the same evaluation; nothing global is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from noria.errors import TrainingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE: Final = "#2563eb"
GREY: Final = "#94a3b8"
INK: Final = "#1e293b"
_DOTS_PER_INCH: Final = 110

T = TypeVar("T")


def write(
    folder: Path,
    plots: Mapping[str, Callable[[Figure, T], None]],
    shown: T,
    size: tuple[float, float] = (6.4, 4.0),
) -> tuple[str, ...]:
    """Write plots and return their file names.

    Args:
        folder: A directory; made if missing.
        plots: What draws on a figure, by the file's name.
        shown: What they draw.
        size: Of the figures, inches.

    Raises:
        TrainingError: A file can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, plot in plots.items():
            figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
            FigureCanvasAgg(figure)
            plot(figure, shown)
            # No date and no version inside.
            figure.savefig(folder / name, format="png", metadata={"Software": None})
    except OSError as error:
        raise TrainingError(f"{folder}: plots can't be written: {error}") from error
    return tuple(plots)


def titled(figure: Figure, title: str, x: str = "", y: str = "") -> Any:
    """Return the axes of a figure that is one plot, with its title and what the axes are."""
    axes = figure.add_subplot()
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    return axes
