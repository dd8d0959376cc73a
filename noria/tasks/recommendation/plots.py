"""Plots of recommendations, as small PNG files: by length of the history, and by popularity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.held_out import HeldOut
from noria.tasks.plots import BLUE, GREY, INK, titled, write
from noria.tasks.recommendation import HISTORY
from noria.tasks.recommendation.accuracy import ndcg
from noria.tasks.recommendation.fitting import Samples
from noria.tasks.recommendation.items import listed
from noria.tasks.recommendation.judged import said_of
from noria.tasks.recommendation.predictor import Recommender

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_EDGES: Final = (0, 1, 6, 21, 101, np.inf)
_LENGTHS: Final = ("none", "1 to 5", "6 to 20", "21 to 100", "over 100")
_TENTHS: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """What the plots show: held-out samples, what was said of them, and popularity beside it."""

    samples: Samples
    said: Array
    beside: Array | None
    model: Recommender


def draw(folder: Path, samples: Samples, held_out: HeldOut, model: Recommender) -> tuple[str, ...]:
    """Write the plots and return their file names.

    Raises:
        TrainingError: A file can't be written.
    """
    beside = held_out.baseline
    drawn = _Drawn(
        samples, said_of(held_out.model), None if beside is None else said_of(beside), model
    )
    plots: dict[str, Callable[[Figure, _Drawn], None]] = {
        "ndcg-by-history.png": _by_history,
        "recommended-by-popularity.png": _by_popularity,
    }
    return write(folder, plots, drawn)


def _by_history(figure: Figure, drawn: _Drawn) -> None:
    k = drawn.said.shape[1]
    axes = titled(figure, "Gain by length of the history", "items in the history", f"nDCG at {k}")
    sizes = np.array([len(listed(text)) for text in drawn.samples.frame[HISTORY]])
    group = np.digitize(sizes, _EDGES) - 1
    shown = [n for n in range(len(_LENGTHS)) if (group == n).any()]
    rows = [("model", drawn.said, BLUE, -0.2)]
    if drawn.beside is not None:
        rows.append(("popularity", drawn.beside, GREY, 0.2))
    for name, said, colour, shift in rows:
        found = ndcg(drawn.samples.truth, said)
        means = [found[group == n].mean() for n in shown]
        axes.bar(np.arange(len(shown)) + shift, means, 0.38, color=colour, label=name)
    labels = [f"{_LENGTHS[n]}\n{int((group == n).sum()):,} samples" for n in shown]
    axes.set_xticks(np.arange(len(shown)), labels, fontsize=8)
    axes.legend(frameon=False)


def _by_popularity(figure: Figure, drawn: _Drawn) -> None:
    """Draw which tenths of the catalogue are recommended, and which were taken."""
    title = "Recommended and taken, by popularity"
    axes = titled(figure, title, "tenth of the catalogue, the most popular first", "share of items")
    items = drawn.model.numbers
    place = dict(zip(items.tolist(), range(items.size), strict=True))
    lists = [
        ("recommended", drawn.said, BLUE, -0.27),
        ("taken", drawn.samples.truth, INK, 0.0),
    ]
    if drawn.beside is not None:
        lists.append(("recommended by popularity", drawn.beside, GREY, 0.27))
    for name, numbers, colour, shift in lists:
        codes = [place[number] for number in numbers.ravel().tolist() if number in place]
        tenths = np.array(codes, np.int64) * _TENTHS // max(items.size, 1)
        share = np.bincount(tenths, minlength=_TENTHS) / max(len(codes), 1)
        axes.bar(np.arange(1, _TENTHS + 1) + shift, share, 0.26, color=colour, label=name)
    axes.set_xticks(np.arange(1, _TENTHS + 1))
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False)
