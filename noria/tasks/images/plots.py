"""What an evaluation of pictures shows beside the plots of any classification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from noria.errors import TrainingError
from noria.tasks.images import IMAGE, SMALL
from noria.tasks.images.describe import options_of
from noria.tasks.images.fitting import HISTORY
from noria.tasks.images.pixels import pictures_of, shape_of
from noria.tasks.neural.checkpoints import Epoch
from noria.tasks.package import read_manifest
from noria.tasks.tabular.evaluation import said_of, truth_of

if TYPE_CHECKING:
    import pandas as pd

    from noria.spec import ModelSpec
    from noria.tasks.held_out import HeldOut

_BLUE: Final = "#2563eb"
_GREY: Final = "#94a3b8"
_INK: Final = "#1e293b"
_WRONG: Final = (3, 6)
"""Rows and columns of pictures that are shown."""


class History(msgspec.Struct, frozen=True):
    """What ``history.json`` says: the epochs, and which of them is kept."""

    best: int
    epochs: tuple[Epoch, ...]


def history_of(package: Path) -> History | None:
    """Return how the training of a package went; None: it had no epochs."""
    path = package / HISTORY
    return msgspec.json.decode(path.read_bytes(), type=History) if path.is_file() else None


def notes_of(spec: ModelSpec, package: Path) -> tuple[str, ...]:
    """Return what should be known of the judged fit, a sentence each."""
    notes, history, options = [], history_of(package), options_of(spec)
    if history is not None:
        notes.append(
            f"Epoch {history.best} of {len(history.epochs)} is kept: the best on validation."
        )
    if options.backbone != SMALL:
        start = {None: "nothing: it was trained from scratch", "hub": "the hub's weights"}
        notes.append(
            f"{options.backbone} started from "
            f"{start.get(options.weights, f'the weights {options.weights}')}."
        )
    return tuple(notes)


def draw(
    folder: Path, spec: ModelSpec, package: Path, test: pd.DataFrame, held_out: HeldOut
) -> tuple[str, ...]:
    """Write the plots and return their file names.

    Raises:
        TrainingError: A file can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plots: dict[str, Any] = {
        "wrong.png": lambda figure: _wrong(figure, spec, package, test, held_out)
    }
    history = history_of(package)
    if history is not None:
        plots["epochs.png"] = lambda figure: _epochs(figure, history)
    try:
        for name, plot in plots.items():
            figure = Figure(figsize=(5.2, 4.2), dpi=110, layout="constrained")
            FigureCanvasAgg(figure)
            plot(figure)
            figure.savefig(folder / name, format="png", metadata={"Software": None})
    except OSError as error:
        raise TrainingError(f"{folder}: a plot can't be written: {error}") from error
    return tuple(plots)


def _wrong(
    figure: Any, spec: ModelSpec, package: Path, test: pd.DataFrame, held_out: HeldOut
) -> None:
    """Show the pictures whose true class the model gave the least probability."""
    classes = read_manifest(package).classes
    truth = truth_of(spec, classes, test).values.astype(np.int64)
    said = said_of(held_out.model)
    if said.ndim == 1:
        said = np.column_stack([1.0 - said, said])
    rows, columns = _WRONG
    guess = said.argmax(axis=1)
    order = np.argsort(said[np.arange(truth.size), truth], kind="stable")
    worst = [at for at in order if guess[at] != truth[at]][: rows * columns]
    shape = shape_of(spec)
    pictures = pictures_of(test[IMAGE].to_numpy(object)[worst], shape).matrix
    figure.suptitle("Most wrong: true, predicted", fontsize=11, color=_INK, x=0.02, ha="left")
    for place in range(rows * columns):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.axis("off")
        if place >= len(worst):
            continue
        pixels = pictures[place].reshape(shape.size, shape.size, shape.channels)
        grey = shape.channels == 1
        axes.imshow(pixels[..., 0] if grey else pixels, cmap="gray" if grey else None)
        at = worst[place]
        title = f"{str(classes[truth[at]])[:12]}\n{str(classes[guess[at]])[:12]}"
        axes.set_title(title, fontsize=7, color=_INK, pad=2)


def _epochs(figure: Any, history: History) -> None:
    """Show the loss of each epoch, and what it gave on the validation part."""
    axes = figure.add_subplot()
    numbers = [one.number for one in history.epochs]
    axes.plot(numbers, [one.loss for one in history.epochs], "o-", color=_GREY, markersize=4)
    axes.set_ylabel("training loss", fontsize=9, color=_GREY)
    axes.set_xlabel("epoch", fontsize=9, color=_INK)
    axes.set_title("Epochs", fontsize=11, color=_INK, loc="left", pad=10)
    beside = axes.twinx()
    values = [np.nan if one.value is None else one.value for one in history.epochs]
    beside.plot(numbers, values, "o-", color=_BLUE, markersize=4)
    beside.set_ylabel("validation (greater is better)", fontsize=9, color=_BLUE)
    beside.axvline(history.best, linestyle=":", color=_INK, linewidth=0.9)
    axes.set_xticks(numbers if len(numbers) <= 20 else numbers[:: len(numbers) // 10])
