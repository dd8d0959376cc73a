"""Pictures of a table as one matrix, what is watched of them, and which are there twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.tasks.images import BRIGHTNESS, CONTRAST, HEIGHT, SHARPNESS, WIDTH
from noria.tasks.images.decoding import Pixels, read

if TYPE_CHECKING:
    from noria.spec import ModelSpec

Array = NDArray[np.float64]

_HASHED: Final = 16
"""Sides of the grid of a hash, less one: 256 comparisons, of which all must be alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What a network reads: pictures of ``size`` by ``size`` pixels of so many ``channels``."""

    size: int
    channels: int

    @property
    def values(self) -> int:
        """Numbers of a picture."""
        return self.size * self.size * self.channels


def shape_of(spec: ModelSpec) -> Shape:
    """Return what the network of a model reads."""
    from noria.tasks.images.describe import options_of  # a server has no need of it

    options = options_of(spec)
    return Shape(options.size, 3 if options.channels == "rgb" else 1)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """n pictures.

    Attributes:
        matrix: (n, size * size * channels) uint8, row by row of pixels.
        sizes: (n, 2) int64 widths and heights that they had.
        faults: Why a picture can't be read, by its row; its pixels are 0.
    """

    matrix: Pixels
    sizes: NDArray[np.int64]
    faults: dict[int, InvalidInput]


def pictures_of(values: Sequence[Any] | NDArray[Any], shape: Shape) -> Pictures:
    """Decode the pictures of a column: bytes of files, or pixels."""
    matrix = np.zeros((len(values), shape.values), np.uint8)
    sizes = np.zeros((len(values), 2), np.int64)
    faults = {}
    for row, value in enumerate(values):
        try:
            found = read(value, shape.size, shape.channels)
        except InvalidInput as error:
            faults[row] = error
            continue
        matrix[row] = found.pixels.reshape(-1)
        sizes[row] = found.width, found.height
    return Pictures(matrix, sizes, faults)


def described(matrix: Pixels, sizes: NDArray[np.int64], shape: Shape) -> dict[str, Array]:
    """Return what is watched of n pictures, (n,) each.

    Width and height are those of the file. Brightness is the mean of the grey values (0 to 255),
    contrast their standard deviation, sharpness the mean absolute Laplacian, all at the size that
    the network reads.
    """
    grey = matrix.reshape(-1, shape.size, shape.size, shape.channels)
    whole = grey[..., 0].astype(np.float32)
    if shape.channels > 1:
        whole = grey.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    flat = whole.reshape(len(whole), -1)
    inner = whole[:, 1:-1, 1:-1]
    edges = 4 * inner - whole[:, :-2, 1:-1] - whole[:, 2:, 1:-1]
    edges -= whole[:, 1:-1, :-2] + whole[:, 1:-1, 2:]
    return {
        WIDTH: sizes[:, 0].astype(np.float64),
        HEIGHT: sizes[:, 1].astype(np.float64),
        BRIGHTNESS: flat.mean(axis=1, dtype=np.float64),
        CONTRAST: flat.std(axis=1, dtype=np.float64),
        SHARPNESS: np.abs(edges).mean(axis=(1, 2), dtype=np.float64),
    }


def entropy(probability: Array) -> Array:
    """Return the entropy of n answers, nats: 0 where one class is certain.

    Args:
        probability: (n,) of the second of two classes, or (n, k).
    """
    if probability.ndim == 1:
        probability = np.column_stack([1.0 - probability, probability])
    return np.asarray(-(probability * np.log(np.maximum(probability, 1e-300))).sum(axis=1))


def hashes(matrix: Pixels, shape: Shape) -> list[bytes]:
    """Return a hash of each picture that survives another encoding and size, not another picture.

    It says of 16 by 16 places whether the next one to the right is brighter (a difference hash).
    A picture without any structure has none: it is empty.
    """
    from PIL import Image

    found = []
    for row in matrix.reshape(-1, shape.size, shape.size, shape.channels):
        image = Image.fromarray(row[..., 0] if shape.channels == 1 else row).convert("L")
        small = np.asarray(image.resize((_HASHED + 1, _HASHED), Image.Resampling.BOX), np.int16)
        rises = small[:, 1:] > small[:, :-1]
        found.append(np.packbits(rises).tobytes() if small.std() > 1.0 else b"")
    return found


def twice(known: Iterable[bytes], others: Iterable[bytes]) -> list[int]:
    """Return the places of the other hashes that are among the known ones."""
    seen = set(known) - {b""}
    return [place for place, one in enumerate(others) if one in seen]
