"""Fitting: a network by the trainer that all networks share, or a logistic regression."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from noria.errors import DataError, InvalidInput
from noria.measures.measuring import value_of
from noria.spec import ModelSpec, cpu_count
from noria.tasks.images import SMALL
from noria.tasks.images.augment import Augment, augment
from noria.tasks.images.decoding import Pixels
from noria.tasks.images.describe import options_of
from noria.tasks.images.network import asked, build, start_from, tensor_of
from noria.tasks.images.pixels import Shape, shape_of
from noria.tasks.images.predictor import ImagePredictor, Linear, Network, features_of
from noria.tasks.neural.checkpoints import Checkpoints, Epoch
from noria.tasks.neural.plan import Places, Plan
from noria.tasks.neural.trainer import train
from noria.tasks.neural.weights import packed, unpacked
from noria.tasks.package import Manifest
from noria.tasks.tabular.fit import balanced
from noria.tasks.tabular.folds import Kind, RowFacts, hold_out
from noria.tasks.tabular.threads import limited_to, threads_for

Array = NDArray[np.float64]

HISTORY: Final = "history.json"
CHECKPOINTS: Final = "NORIA_CHECKPOINTS"
"""The environment's folder where a training keeps how far it is; without it a killed one begins
anew."""
BASELINE_ROWS: Final = 5_000
"""Rows that the baseline is fitted on at most: more make it dearer than what it stands beside."""
_LEAST_VALIDATION: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A model between ``fit`` and ``save``; its manifest has no files and no name yet."""

    predictor: ImagePredictor
    history: tuple[Epoch, ...] = ()
    best: int = 0

    @property
    def manifest(self) -> Manifest:
        """What the package will say about itself."""
        return self.predictor.manifest

    @property
    def rows(self) -> int:
        """How many rows it was fitted on, those that chose the epoch among them."""
        return self.manifest.rows

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        files = self.predictor.files()
        if self.history:
            said = {"best": self.best, "epochs": self.history}
            files[HISTORY] = msgspec.json.format(msgspec.json.encode(said), indent=2)
        return files


@dataclass(frozen=True, slots=True, eq=False)
class PictureLesson:
    """Pictures and their classes, as the trainer asks for them.

    ``matrix`` (n, d) and ``codes`` (n,) are of all rows, ``weights`` (n,) what each counts;
    ``learnt`` and ``held`` are places among them.
    """

    network: torch.nn.Module
    matrix: Pixels
    codes: torch.Tensor
    weights: torch.Tensor
    learnt: Places
    held: Places
    shape: Shape
    backbone: str
    change: Augment | None
    metric: Any
    _pixels: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pixels", torch.from_numpy(self.matrix))

    @property
    def rows(self) -> int:
        """How many rows there are to learn from."""
        return int(self.learnt.size)

    def losses(
        self, network: torch.nn.Module, places: Places, device: torch.device
    ) -> torch.Tensor:
        """Return the weighted cross-entropy of each picture, (m,)."""
        at = torch.from_numpy(self.learnt[places])
        pixels = self._pixels[at]
        if self.change is not None:
            side, channels = self.shape.size, self.shape.channels
            pictures = pixels.view(-1, side, side, channels).permute(0, 3, 1, 2)
            changed = self.change(pictures.contiguous())
            pixels = changed.permute(0, 2, 3, 1).reshape(len(at), -1)
        said = network(tensor_of(pixels.to(device), self.shape, self.backbone))
        losses = torch.nn.functional.cross_entropy(
            said, self.codes[at].to(device), reduction="none"
        )
        return losses * self.weights[at].to(device)

    def weight(self, places: Places) -> float:
        """Return what pictures weigh together."""
        return float(self.weights[torch.from_numpy(self.learnt[places])].sum())

    def value(self, network: torch.nn.Module, device: torch.device) -> float | None:
        """Return the metric on the validation part, turned so that greater is better."""
        del device  # the network is there
        said = torch.softmax(self._logits(network), dim=1).double().numpy()
        truth = self.codes[torch.from_numpy(self.held)].numpy().astype(np.float64)
        found = value_of(self.metric, truth, said[:, 1] if said.shape[1] == 2 else said)
        return found if self.metric.greater_is_better else -found

    def temperature(self, network: torch.nn.Module) -> float:
        """Return what logits are divided by so that the validation part is the likeliest.

        A network that was trained until it errs little is surer than it is right; it is never made
        surer (Guo et al.,
        ICML 2017).
        """
        from scipy.optimize import minimize_scalar

        logits = self._logits(network).double()
        truth = self.codes[torch.from_numpy(self.held)]

        def loss(log: float) -> float:
            cooled = logits / float(np.exp(log))
            return float(torch.nn.functional.cross_entropy(cooled, truth))

        found = minimize_scalar(loss, bounds=(0.0, 1.5), method="bounded")
        return float(np.exp(found.x))

    def _logits(self, network: torch.nn.Module) -> torch.Tensor:
        return asked(network, self.matrix[self.held], self.shape, self.backbone)


def fit_network(
    spec: ModelSpec,
    manifest: Manifest,
    matrix: Pixels,
    codes: NDArray[np.int64],
    facts: RowFacts,
    params: Mapping[str, Any],
    weight: Array | None,
    weights: Mapping[str, torch.Tensor] | None,
) -> Fitted:
    """Train a network; the best epoch is that of the metric that a search goes by.

    Args:
        spec: The model.
        manifest: Of the package.
        matrix: (n, d) pictures.
        codes: (n,) their classes.
        facts: About them.
        params: Hyperparameters.
        weight: (n,) what each counts; None: the same.
        weights: What the backbone starts from; None: nothing.

    Raises:
        DataError: There are too few rows to choose an epoch by.
        InvalidInput: A hyperparameter is refused.
        TrainingError: The training fails.
    """
    options, classes = options_of(spec), len(manifest.classes)
    shape = shape_of(spec)
    kind: Kind = "temporal" if facts.event is not None else "stratified"
    fold = hold_out(kind, facts, options.validation_share, 0, spec.train.seed)
    if fold.test.size < _LEAST_VALIDATION:
        raise DataError(
            f"spec.task.options.validationShare: {fold.test.size} of {len(matrix)} rows would "
            "choose the epoch",
            fix=f"give more rows, or a greater share: {_LEAST_VALIDATION} rows or more",
        )
    counted = np.ones(len(matrix)) if weight is None else weight
    if options.class_weights == "balanced":
        counted = counted * balanced(codes, classes)
    plan = plan_of(spec, params, matrix.size)
    torch.manual_seed(spec.train.seed)
    network = build(options.backbone, shape, classes, hub=options.weights == "hub")
    if weights is not None:
        start_from(network, weights, options.weights or "")
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    lesson = PictureLesson(
        network,
        matrix,
        torch.from_numpy(codes),
        torch.from_numpy(counted.astype(np.float32)),
        fold.train,
        fold.test,
        shape,
        options.backbone,
        augment(options.augment),
        spec.metric(spec.train.search.metric),
    )
    done = train(lesson, plan, _checkpoints(spec, plan, lesson, weights))
    trained = build(options.backbone, shape, classes)
    trained.load_state_dict(dict(done.weights))
    trained.eval()
    found = Network(trained, shape, options.backbone, lesson.temperature(trained))
    return Fitted(ImagePredictor(manifest, shape, found), done.history, done.best)


def fit_linear(
    spec: ModelSpec,
    manifest: Manifest,
    matrix: Pixels,
    codes: NDArray[np.int64],
    params: Mapping[str, Any],
    weight: Array | None,
    weights: Mapping[str, torch.Tensor] | None,
) -> Fitted:
    """Fit a logistic regression of a frozen backbone's features, or of the pixels.

    Raises:
        InvalidInput: A hyperparameter is refused.
    """
    from sklearn.linear_model import LogisticRegression

    options, shape = options_of(spec), shape_of(spec)
    backbone = None
    if options.backbone != SMALL:
        torch.manual_seed(spec.train.seed)
        backbone = build(options.backbone, shape, 0, hub=options.weights == "hub")
        if weights is not None:
            start_from(backbone, weights, options.weights or "")
    found = features_of(backbone, matrix, shape, options.backbone)
    middle, spread = found.mean(axis=0), found.std(axis=0)
    spread = np.where(spread > 1e-6, spread, 1.0)
    balance = "balanced" if options.class_weights == "balanced" else None
    try:
        model = LogisticRegression(
            C=float(params.get("C", 0.01)), max_iter=300, class_weight=balance, tol=1e-3
        )
        with limited_to(1):
            model.fit((found - middle) / spread, codes, weight)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"spec.train.hyperparameters: logistic refuses {dict(params)}: {error}",
            fix="correct the value",
        ) from error
    rows, offsets = model.coef_ / spread, model.intercept_
    offsets = offsets - rows @ middle
    if len(rows) == 1:  # of two classes scikit-learn keeps one
        rows, offsets = np.vstack([np.zeros_like(rows), rows]), np.array([0.0, offsets[0]])
    linear = Linear(backbone, shape, options.backbone, np.ascontiguousarray(rows.T), offsets)
    return Fitted(ImagePredictor(manifest, shape, linear))


def plan_of(spec: ModelSpec, params: Mapping[str, Any], values: int) -> Plan:
    """Return how a network is trained on so many values of pixels.

    Raises:
        InvalidInput: A hyperparameter is refused.
    """
    threads = threads_for(values, int(cpu_count(spec.train.compute.cpu)))
    whole = {"epochs", "batch", "accumulate", "patience"}
    fresh = options_of(spec).weights is None
    start: dict[str, Any] = {"learning_rate": 4e-3 if fresh else 5e-4}
    try:
        for name, value in params.items():
            start[name] = int(value) if name in whole else float(value)
        return Plan(**start, seed=spec.train.seed, threads=threads)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"spec.train.hyperparameters: {dict(params)}: {error}", fix="give numbers"
        ) from error
    except InvalidInput as error:
        raise InvalidInput(f"spec.train.hyperparameters.{error.message}", fix=error.fix) from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file of safetensors, or of the one in a folder.

    Raises:
        DataError: There is none.
        IntegrityError: It is of another format.
    """
    found = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        raise DataError(
            f"spec.task.options.weights: {path} is no file of safetensors, and no folder with one",
            fix="correct the path",
        )
    return unpacked(found[0].read_bytes(), str(found[0]))


def _checkpoints(
    spec: ModelSpec,
    plan: Plan,
    lesson: PictureLesson,
    weights: Mapping[str, torch.Tensor] | None,
) -> Checkpoints | None:
    folder = os.environ.get(CHECKPOINTS, "")
    if not folder:
        return None
    said = [
        spec.task.model_dump(mode="json"),
        {name: getattr(plan, name) for name in plan.__slots__},
        lesson.metric.name,
    ]
    digest = sha256(msgspec.json.encode(said))
    for array in (lesson.matrix, lesson.codes.numpy(), lesson.weights.numpy(), lesson.learnt):
        digest.update(np.ascontiguousarray(array).tobytes())
    if weights is not None:
        digest.update(packed(weights))
    study = digest.hexdigest()
    return Checkpoints(Path(folder) / study[:16], study)
