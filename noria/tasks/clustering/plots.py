"""Plots of clusters, as small PNG files: rows in two dimensions, and what sets clusters apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.clustering import name_of
from noria.tasks.clustering.predictor import Clusters, Profile
from noria.tasks.clustering.profile import weight_of
from noria.tasks.clustering.stability import STABLE, UNSTABLE
from noria.tasks.plots import GREY, INK, titled, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_COLOURS: Final = (
    "#2563eb", "#ea580c", "#16a34a", "#9333ea", "#ca8a04",
    "#0891b2", "#db2777", "#65a30d", "#7c2d12", "#475569",
)  # fmt: skip
_MOST_SHOWN: Final = 1_500
_MOST_BARS: Final = 6
_MOST_PANELS: Final = 9


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """What the plots show: rows as points (n, p) and their clusters' numbers (n,), 0 is noise."""

    model: Clusters
    points: Array
    number: NDArray[np.int64]
    seed: int

    @property
    def profiles(self) -> list[Profile]:
        """The clusters by number."""
        return sorted(self.model.settings.profiles, key=lambda one: one.number)


def draw(folder: Path, model: Clusters, matrix: Array, seed: int) -> tuple[str, ...]:
    """Write the plots of encoded rows (n, d), and return their file names.

    Raises:
        TrainingError: A file can't be written.
    """
    from noria.tasks.clustering.finding import drawn

    matrix = drawn(matrix, _MOST_SHOWN, seed)
    number = model.answers(model.assigned(matrix))["prediction"]
    shown = _Drawn(model, model.space.points(matrix), number, seed)
    plots: dict[str, Callable[[Figure, _Drawn], None]] = {"clusters.png": _view}
    if len(shown.profiles) > 1:
        plots |= {"stability.png": _stability, "profiles.png": _profiles}
    return write(folder, plots, shown)


def colour_of(number: int) -> str:
    """Return a cluster's colour, the same in every version; noise is grey."""
    return _COLOURS[(number - 1) % len(_COLOURS)] if number > 0 else GREY


def _view(figure: Figure, drawn: _Drawn) -> None:
    flat, how = flattened(drawn.points, drawn.seed)
    axes = titled(figure, "Held-out rows by cluster", f"two dimensions by {how}")
    for number in np.unique(drawn.number).tolist():
        part = flat[drawn.number == number]
        share = len(part) / len(flat)
        label = f"{name_of(number)} ({share:.0%})"
        axes.scatter(part[:, 0], part[:, 1], s=7, lw=0, color=colour_of(number), label=label)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def flattened(points: Array, seed: int) -> tuple[Array, str]:
    """Return points (n, 2), and how: by UMAP where umap-learn is installed, or components.

    UMAP: McInnes, Healy and Melville, arXiv 1802.03426 (2018). Distances between its groups mean
    little; that groups are apart means that near rows are.
    """
    if points.shape[1] > 2 and len(points) > 15:
        try:
            with warnings.catch_warnings():
                # Importing it warns where tensorflow is not installed; a seed costs its threads.
                warnings.simplefilter("ignore")
                from umap import UMAP

                return np.asarray(UMAP(random_state=seed).fit_transform(points)), "UMAP"
        except ImportError:
            pass
    away = points - points.mean(axis=0)
    axes = np.linalg.svd(away, full_matrices=False)[2][:2]
    flat = away @ axes.T
    spread = float((away**2).sum())
    share = float((flat**2).sum()) / spread if spread else 1.0
    if flat.shape[1] < 2:
        flat = np.column_stack([flat[:, 0], np.zeros(len(flat))])
    return flat, f"principal components, {share:.0%} of the variance"


def _stability(figure: Figure, drawn: _Drawn) -> None:
    said = f"Jaccard similarity; under {UNSTABLE:g} unstable, from {STABLE:g} stable"
    axes = titled(figure, "How alike each cluster comes again in other samples", said)
    known = [one for one in drawn.profiles if one.stability is not None]
    names = [name_of(one.number) for one in known]
    colours = [colour_of(one.number) for one in known]
    axes.barh(names, [one.stability for one in known], color=colours)
    for value in (UNSTABLE, STABLE):
        axes.axvline(value, color=INK, lw=0.8, ls=":")
    axes.set_xlim(0, 1)
    axes.invert_yaxis()


def _profiles(figure: Figure, drawn: _Drawn) -> None:
    """Draw for each cluster the columns that set it apart, in standard deviations."""
    shown = drawn.profiles[:_MOST_PANELS]
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    figure.set_size_inches(3.2 * across, 0.5 + 1.7 * down)
    grid = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    for axes, profile in zip(grid, shown, strict=False):
        traits = profile.traits[:_MOST_BARS]
        names = [f"{o.column}: {o.category}" if o.category else o.column for o in traits]
        sizes = [weight_of(one) * (1 if one.value >= one.usual else -1) for one in traits]
        axes.barh(np.arange(len(names)), sizes, color=colour_of(profile.number))
        axes.set_yticks(np.arange(len(names)), [name[:28] for name in names], fontsize=7)
        axes.set_ylim(_MOST_BARS - 0.4, -0.6)
        axes.axvline(0, color=INK, lw=0.8)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_title(
            f"{name_of(profile.number)} ({profile.share:.0%})", fontsize=9, color=INK, loc="left"
        )
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("difference from all rows, standard deviations", fontsize=8, color=INK)
