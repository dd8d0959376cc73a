"""What an evaluation of pictures shows beside the plots of any classification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.tasks.images import IMAGE, SMALL
from noria.tasks.images.describe import options_of
from noria.tasks.images.fitting import HISTORY
from noria.tasks.images.pixels import pictures_of, shape_of
from noria.tasks.neural.checkpoints import Epoch
from noria.tasks.package import read_manifest
from noria.tasks.plots import BLUE, GREY, INK, write
from noria.tasks.tabular.evaluation import said_of, truth_of
from noria.values import Class

if TYPE_CHECKING:
    import pandas as pd

    from noria.spec import ModelSpec
    from noria.tasks.held_out import HeldOut

_SIZE: Final = (5.2, 4.2)
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


class Mistake(NamedTuple):
    """A picture as the network reads it, (h, w, c), its class, and the one that was said."""

    pixels: NDArray[np.uint8]
    true: Class
    said: Class


def draw(
    folder: Path, spec: ModelSpec, package: Path, test: pd.DataFrame, held_out: HeldOut
) -> tuple[str, ...]:
    """Write the plots and return their file names; that of mistakes only where there are any.

    Raises:
        TrainingError: A file can't be written.
    """
    names: tuple[str, ...] = ()
    mistakes = _mistakes(spec, package, test, held_out)
    if mistakes:
        names = write(folder, {"wrong.png": _wrong}, mistakes, _SIZE)
    history = history_of(package)
    if history is not None:
        names += write(folder, {"epochs.png": _epochs}, history, _SIZE)
    return names


def _mistakes(
    spec: ModelSpec, package: Path, test: pd.DataFrame, held_out: HeldOut
) -> list[Mistake]:
    """Return the pictures whose true class the model gave the least probability."""
    classes = read_manifest(package).classes
    truth = truth_of(spec, classes, test).values.astype(np.int64)
    said = said_of(held_out.model)
    if said.ndim == 1:
        said = np.column_stack([1.0 - said, said])
    guess = said.argmax(axis=1)
    order = np.argsort(said[np.arange(truth.size), truth], kind="stable")
    worst = [at for at in order if guess[at] != truth[at]][: math.prod(_WRONG)]
    shape = shape_of(spec)
    pictures = pictures_of(test[IMAGE].to_numpy(object)[worst], shape).matrix
    pixels = pictures.reshape(-1, shape.size, shape.size, shape.channels)
    return [
        Mistake(one, classes[truth[at]], classes[guess[at]])
        for one, at in zip(pixels, worst, strict=True)
    ]


def _wrong(figure: Any, mistakes: Sequence[Mistake]) -> None:
    figure.suptitle("Most wrong: true, predicted", fontsize=11, color=INK, x=0.02, ha="left")
    for place, one in enumerate(mistakes, 1):
        axes = figure.add_subplot(*_WRONG, place)
        axes.axis("off")
        grey = one.pixels.shape[2] == 1
        axes.imshow(one.pixels[..., 0] if grey else one.pixels, cmap="gray" if grey else None)
        axes.set_title(f"{str(one.true)[:12]}\n{str(one.said)[:12]}", fontsize=7, color=INK, pad=2)


def _epochs(figure: Any, history: History) -> None:
    """Show the loss of each epoch, and what it gave on the validation part."""
    axes = figure.add_subplot()
    numbers = [one.number for one in history.epochs]
    axes.plot(numbers, [one.loss for one in history.epochs], "o-", color=GREY, markersize=4)
    axes.set_ylabel("training loss", fontsize=9, color=GREY)
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.set_title("Epochs", fontsize=11, color=INK, loc="left", pad=10)
    beside = axes.twinx()
    values = [np.nan if one.value is None else one.value for one in history.epochs]
    beside.plot(numbers, values, "o-", color=BLUE, markersize=4)
    beside.set_ylabel("validation (greater is better)", fontsize=9, color=BLUE)
    beside.axvline(history.best, linestyle=":", color=INK, linewidth=0.9)
    axes.set_xticks(numbers if len(numbers) <= 20 else numbers[:: len(numbers) // 10])
