"""Plots of an evaluation, as small PNG files that stand for themselves in a report.

The model is blue, the linear baseline grey, whatever is ideal a thin dotted
line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.measures.measuring import value_of
from noria.tasks.measure import Truth
from noria.tasks.plots import BLUE, GREY, INK, write
from noria.tasks.tabular.derived import DerivedScorer
from noria.tasks.tabular.evaluation import scores
from noria.tasks.tabular.intervals import Intervals
from noria.tasks.tabular.predictor import TabularPredictor

if TYPE_CHECKING:
    from noria.tasks.tabular.evaluation import Asked

Array = NDArray[np.float64]
_IMPORTANCE_ROWS: Final = 2000
_IMPORTANCE_SHOWN: Final = 15
_IMPORTANCE_MEASURED: Final = 120
_SCREENED: Final = slice(None, None, 5)
_CURVE_POINTS: Final = 400
_MOST_CLASSES: Final = 20
_LABEL: Final = 30
"""Characters of a line of a label."""


def draw(folder: Path, asked: Asked, truth: Truth) -> tuple[str, ...]:
    """Write the plots that fit the model and return their file names.

    Args:
        folder: A directory; made if missing.
        asked: The model and its predictions.
        truth: What happened.

    Raises:
        TrainingError: A file can't be written.
    """
    plots: dict[str, Callable[[Any, Asked, Truth], None]]
    if not truth.classes:
        plots = {
            "residuals.png": _residuals,
            "predicted.png": _predicted,
            "importance.png": _importance,
        }
    elif truth.classes == 2 and 0 < int(truth.positive.sum()) < truth.rows:
        plots = {
            "confusion.png": _confusion,
            "roc.png": _roc,
            "precision-recall.png": _precision_recall,
            "calibration.png": _calibration,
            "importance.png": _importance,
        }
    else:
        plots = {"confusion.png": _confusion, "importance.png": _importance}
    if any(feature.kind == "image" for feature in asked.model.manifest.features):
        del plots["importance.png"]  # pixels that change places are no pictures
    drawn = {name: partial(_on, plot, truth) for name, plot in plots.items()}
    return write(folder, drawn, asked, (5.2, 4.2))


def _on(plot: Callable[[Any, Asked, Truth], None], truth: Truth, figure: Any, asked: Asked) -> None:
    plot(_axes(figure), asked, truth)


def _axes(figure: Any) -> Any:
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.grid(color="#e2e8f0", linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


def _title(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=11, color=INK, loc="left", pad=10)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)


def _series(asked: Asked) -> list[tuple[str, Array, str]]:
    shown = [("model", asked.prediction, BLUE)]
    if asked.baseline is not None:
        shown.insert(0, ("linear baseline", asked.baseline, GREY))
    return shown


def _steps(positive: NDArray[np.bool_], score: Array) -> tuple[Array, Array, Array]:
    """Return false positives, true positives and rows called positive, at falling thresholds."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(positive[order]).astype(np.float64)
    ends = np.concatenate([np.nonzero(np.diff(score[order]))[0], [score.size - 1]])
    called = (ends + 1).astype(np.float64)
    return called - hits[ends], hits[ends], called


def _thin(*curves: Array) -> tuple[Array, ...]:
    """Keep evenly spaced points of long curves: a screen shows no more, and files stay small."""
    size = curves[0].size
    if size <= _CURVE_POINTS:
        return curves
    kept = np.unique(np.linspace(0, size - 1, _CURVE_POINTS).astype(np.int64))
    return tuple(curve[kept] for curve in curves)


def _roc(axes: Any, asked: Asked, truth: Truth) -> None:
    positive = truth.positive
    total = float(positive.sum())
    axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.9)
    for name, score, colour in _series(asked):
        wrong, right, _ = _steps(positive, score)
        x, y = _thin(
            np.concatenate([[0.0], wrong / (truth.rows - total)]),
            np.concatenate([[0.0], right / total]),
        )
        area = value_of("auc", truth.values, score)
        axes.plot(x, y, color=colour, linewidth=1.8, label=f"{name}: AUC {area:.3f}")
    axes.legend(fontsize=8.5, frameon=False, loc="lower right")
    _title(axes, "ROC", "false positive rate", "true positive rate")


def _precision_recall(axes: Any, asked: Asked, truth: Truth) -> None:
    positive = truth.positive
    total = float(positive.sum())
    axes.axhline(total / truth.rows, linestyle=":", color=INK, linewidth=0.9)
    for name, score, colour in _series(asked):
        _, right, called = _steps(positive, score)
        x, y = _thin(right / total, right / called)
        area = value_of("average-precision", truth.values, score)
        axes.plot(x, y, color=colour, linewidth=1.8, label=f"{name}: AP {area:.3f}")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8.5, frameon=False, loc="upper right")
    _title(axes, "Precision and recall", "recall", "precision")


def _calibration(axes: Any, asked: Asked, truth: Truth) -> None:
    """Mean prediction against share of positives, in ten bins of equally many rows."""
    top = 0.0
    for name, score, colour in _series(asked):
        order = np.argsort(score, kind="stable")
        bins = [part for part in np.array_split(order, 10) if part.size]
        said = [float(score[part].mean()) for part in bins]
        was = [float(truth.values[part].mean()) for part in bins]
        axes.plot(said, was, "o-", color=colour, linewidth=1.8, markersize=4, label=name)
        top = max(top, *said, *was)
    axes.plot([0, top], [0, top], ":", color=INK, linewidth=0.9)
    axes.legend(fontsize=8.5, frameon=False, loc="upper left")
    _title(axes, "Calibration", "predicted probability", "share that was positive")


def _confusion(axes: Any, asked: Asked, truth: Truth) -> None:
    labels = [str(label) for label in asked.model.manifest.classes]
    score = asked.prediction
    (limit,) = asked.model.manifest.limits or (0.5,)
    guess = (score >= limit).astype(np.int64) if score.ndim == 1 else score.argmax(axis=1)
    size = len(labels)
    counts = np.zeros((size, size))
    np.add.at(counts, (truth.values.astype(np.int64), guess), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if size <= _MOST_CLASSES:
        axes.set_xticks(range(size), labels)
        axes.set_yticks(range(size), labels)
    if size <= 6:
        for row in range(size):
            for column in range(size):
                share = shares[row, column]
                axes.text(
                    column,
                    row,
                    f"{counts[row, column]:,.0f}\n{share:.1%}",
                    ha="center",
                    va="center",
                    fontsize=10,
                    color="white" if share > 0.55 else INK,
                )
    _title(axes, "Confusion (shares of each row)", "predicted", "true")


def _importance(axes: Any, asked: Asked, truth: Truth) -> None:
    """Permutation importance (Breiman, 2001): what shuffling a feature costs.

    A feature that other columns are computed from changes these too; a computed column is shuffled
    alone.

    Of more features than ``_IMPORTANCE_MEASURED``, only those are measured whose shuffling moves
    the predictions most, by a fifth of the rows: what hardly moves them costs hardly anything.
    """
    name = "log-loss" if truth.classes else "rmse"
    rng = np.random.default_rng(truth.seed)
    kept = np.sort(rng.permutation(asked.places.size)[:_IMPORTANCE_ROWS])
    matrix, values = asked.matrix[kept], truth.values[asked.places[kept]]
    order = rng.permutation(kept.size)
    parts, first = [], 0
    for feature in asked.model.manifest.features_read:
        parts.append((feature.name, slice(first, first + feature.size)))
        first += feature.size
    if len(parts) > _IMPORTANCE_MEASURED:
        few = matrix[_SCREENED]
        said, turn = scores(asked.model, few), rng.permutation(few.shape[0])
        moved = [float(np.abs(other - said).mean()) for other in _shuffled(asked, few, turn, parts)]
        parts = [parts[at] for at in np.sort(np.argsort(moved)[-_IMPORTANCE_MEASURED:])]
    whole = value_of(name, values, scores(asked.model, matrix))
    said_of_each = _shuffled(asked, matrix, order, parts)
    costs = [value_of(name, values, said) - whole for said in said_of_each]
    labels = [label for label, _ in parts]
    computed = _computed(asked, matrix)
    if computed is not None:
        inner, wide, more = computed
        said_of_each = _shuffled(inner, wide, order, more)
        costs += [value_of(name, values, said) - whole for said in said_of_each]
        labels += [label for label, _ in more]
    shown = sorted(zip(costs, labels, strict=True))[-_IMPORTANCE_SHOWN:]
    axes.barh(
        [textwrap.fill(label, _LABEL, break_long_words=False) for _, label in shown],
        [cost for cost, _ in shown],
        color=[BLUE if cost > 0 else GREY for cost, _ in shown],
        height=0.65,
    )
    axes.grid(visible=False, axis="y")
    _title(axes, "Importance", f"{name} added by shuffling the feature", "")


def _computed(asked: Asked, matrix: Array) -> tuple[Asked, Array, list[tuple[str, slice]]] | None:
    """Return the model of the rows with their computed columns, these, and where each is."""
    model = asked.model
    if not isinstance(model, TabularPredictor) or not isinstance(model.scorer, DerivedScorer):
        return None
    derived = model.scorer.derived
    inner = replace(model, scorer=model.scorer.inner, intervals=Intervals())
    first = derived.kept.size
    parts = [
        (column.name, slice(first + place, first + place + 1))
        for place, column in enumerate(derived.plan.made)
    ]
    return replace(asked, model=inner), derived.widen(matrix), parts


def _shuffled(
    asked: Asked,
    matrix: Array,
    order: NDArray[np.int64],
    parts: Sequence[tuple[str, slice]],
) -> Iterator[Array]:
    """Yield the predictions with the rows of one part of the columns after another in ``order``."""
    shuffled = matrix.copy()
    for _, part in parts:
        shuffled[:, part] = matrix[order, part]
        yield scores(asked.model, shuffled)
        shuffled[:, part] = matrix[:, part]


def _residuals(axes: Any, asked: Asked, truth: Truth) -> None:
    for name, said, colour in _series(asked):
        error = said - truth.values
        low, high = np.quantile(error, [0.005, 0.995])
        edges = np.linspace(low, max(high, low + 1e-12), 61)
        height, _ = np.histogram(error, edges, density=True)
        middle = (edges[:-1] + edges[1:]) / 2
        label = f"{name}: MAE {np.abs(error).mean():.4g}"
        axes.plot(middle, height, color=colour, linewidth=1.8, label=label)
        axes.fill_between(middle, height, color=colour, alpha=0.12)
    axes.axvline(0, linestyle=":", color=INK, linewidth=0.9)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8.5, frameon=False)
    _title(axes, "Residuals (middle 99 %)", "predicted - true", "density")


def _predicted(axes: Any, asked: Asked, truth: Truth) -> None:
    """True values by twenty bins of the prediction: median and middle half."""
    order = np.argsort(asked.prediction, kind="stable")
    bins = [part for part in np.array_split(order, 20) if part.size]
    said = np.array([asked.prediction[part].mean() for part in bins])
    low, middle, high = np.array(
        [np.quantile(truth.values[part], [0.25, 0.5, 0.75]) for part in bins]
    ).T
    axes.plot([said[0], said[-1]], [said[0], said[-1]], ":", color=INK, linewidth=0.9)
    axes.fill_between(said, low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(said, middle, "o-", color=BLUE, linewidth=1.8, markersize=4)
    _title(axes, "True by predicted (median, middle half)", "predicted", "true")
