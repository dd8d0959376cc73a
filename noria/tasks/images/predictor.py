"""The predictor of a package: decode, ask the network, and say what is watched of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput
from noria.tasks.arrays import pack, unpack
from noria.tasks.encoding import Columns
from noria.tasks.images import ENTROPY, IMAGE
from noria.tasks.images.decoding import Pixels
from noria.tasks.images.network import asked, build
from noria.tasks.images.pixels import Shape, described, entropy, pictures_of
from noria.tasks.neural.weights import fill, packed, unpacked
from noria.tasks.package import Manifest

Array = NDArray[np.float64]

NETWORK: Final = "network.safetensors"
LINEAR: Final = "linear.npz"
TEMPERATURE: Final = "noria.temperature"
_SIDE: Final = 16


class Scorer(Protocol):
    """What makes logits of pictures."""

    def logits(self, matrix: Pixels) -> Array:
        """Return the logits of n pictures, (n, k)."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return its files."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network with one logit for each class, divided by a temperature."""

    module: torch.nn.Module
    shape: Shape
    backbone: str
    temperature: float

    def logits(self, matrix: Pixels) -> Array:
        """Return the logits of n pictures, (n, k)."""
        said = asked(self.module, matrix, self.shape, self.backbone)
        return said.numpy().astype(np.float64) / self.temperature

    def files(self) -> dict[str, bytes]:
        """Return its files."""
        temperature = torch.tensor([self.temperature], dtype=torch.float64)
        return {NETWORK: packed({**self.module.state_dict(), TEMPERATURE: temperature})}


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Logistic regression of simple features, or of those of a frozen backbone."""

    backbone: torch.nn.Module | None
    shape: Shape
    name: str
    coefficients: Array
    offsets: Array

    def logits(self, matrix: Pixels) -> Array:
        """Return the logits of n pictures, (n, k)."""
        found = features_of(self.backbone, matrix, self.shape, self.name)
        return found @ self.coefficients + self.offsets

    def files(self) -> dict[str, bytes]:
        """Return its files."""
        files = {LINEAR: pack({"coefficients": self.coefficients, "offsets": self.offsets})}
        if self.backbone is not None:
            files[NETWORK] = packed(self.backbone.state_dict())
        return files


def features_of(backbone: torch.nn.Module | None, matrix: Pixels, shape: Shape, name: str) -> Array:
    """Return what a logistic regression reads of n pictures, (n, f).

    Of a backbone its features; without one the pixels, averaged to 16 by 16 at most, 0 to 1.
    """
    if backbone is not None:
        return asked(backbone, matrix, shape, name).flatten(1).numpy().astype(np.float64)
    pixels = torch.from_numpy(matrix).view(-1, shape.size, shape.size, shape.channels)
    side = min(_SIDE, shape.size)
    small = torch.nn.functional.adaptive_avg_pool2d(pixels.permute(0, 3, 1, 2).float(), side)
    return small.flatten(1).numpy().astype(np.float64) / 255.0


@dataclass(frozen=True, slots=True, eq=False)
class ImagePredictor:
    """Answers requests; see ``noria.tasks.package.Predictor`` and ``Describing``.

    What was decoded for an answer is kept until the thread's next one: ``describe`` is asked about
    the same column, and decoding costs more than the answer.
    """

    manifest: Manifest
    shape: Shape
    scorer: Scorer
    _classes: np.ndarray = field(init=False, repr=False)
    _last: threading.local = field(init=False, repr=False, default_factory=threading.local)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_classes", np.array(self.manifest.classes))

    def predict(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return ``probability`` and ``label`` (n,).

        The first is (n,) of the second of two classes, or (n, k) of k.

        Raises:
            InvalidInput: A picture can't be read; the message names its row.
        """
        matrix, sizes = self._read(columns[IMAGE])
        answers = self.predict_matrix(matrix)
        self._last.asked = (columns[IMAGE], matrix, sizes, answers["probability"])
        return answers

    def encode(self, columns: Columns) -> Pixels:
        """Return the pixels of n pictures, (n, d) uint8.

        Raises:
            InvalidInput: A picture can't be read.
        """
        return self._read(columns[IMAGE])[0]

    def predict_matrix(self, matrix: Pixels) -> dict[str, np.ndarray]:
        """Return the outputs for decoded pictures (n, d)."""
        logits = self.scorer.logits(matrix)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability = shifted / shifted.sum(axis=1, keepdims=True)
        if probability.shape[1] == 2:
            second = np.ascontiguousarray(probability[:, 1])
            return {
                "probability": second,
                "label": self._classes[(second >= 0.5).astype(np.int64)],
            }
        return {"probability": probability, "label": self._classes[probability.argmax(axis=1)]}

    def describe(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return what is watched of pictures and answers; see ``Describing``."""
        asked_about: Any = getattr(self._last, "asked", None)
        if asked_about is None or asked_about[0] is not columns[IMAGE]:
            self.predict(columns)
            asked_about = self._last.asked
        _, matrix, sizes, probability = asked_about
        self._last.asked = None
        return {**described(matrix, sizes, self.shape), ENTROPY: entropy(probability)}

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        return self.scorer.files()

    def _read(self, values: np.ndarray) -> tuple[Pixels, NDArray[np.int64]]:
        found = pictures_of(values, self.shape)
        for row, error in found.faults.items():
            raise InvalidInput(f"column {IMAGE!r}, row {row}: {error.message}", fix=error.fix)
        return found.matrix, found.sizes


def load(manifest: Manifest, files: Mapping[str, bytes]) -> ImagePredictor:
    """Build the predictor from a package's checked files.

    Raises:
        IntegrityError: A file is missing or does not fit.
    """
    # A server answers one batch at a time; threads of PyTorch would wait for each other.
    torch.set_num_threads(1)
    options = manifest.options
    try:
        shape = Shape(options["size"], 3 if options["channels"] == "rgb" else 1)
        backbone = options["backbone"]
        tensors = unpacked(files[NETWORK], NETWORK) if NETWORK in files else {}
        if LINEAR in files:
            arrays = unpack(files[LINEAR], LINEAR)
            module = None
            if tensors:
                module = build(backbone, shape, 0)
                fill(module, tensors, NETWORK)
            scorer: Scorer = Linear(
                module, shape, backbone, arrays["coefficients"], arrays["offsets"]
            )
        else:
            temperature = float(tensors.pop(TEMPERATURE))
            module = build(backbone, shape, len(manifest.classes))
            fill(module, tensors, NETWORK)
            scorer = Network(module.eval(), shape, backbone, temperature)
    except (KeyError, ValueError) as error:
        raise IntegrityError(
            f"{NETWORK}, {LINEAR} or options: {error}", fix="train again"
        ) from error
    return ImagePredictor(manifest, shape, scorer)
