"""A whole candidate from rows with their features: split, tune, train, evaluate, reference.

The steps of a pipeline call the same pieces, with files in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from noria.spec import ModelSpec
from noria.tasks.held_out import HeldOut
from noria.tasks.judging import BLOCKS, Recipe, recipes_of
from noria.tasks.origins import Fitter, Places, event_of, judge
from noria.tasks.package import Manifest, read_manifest
from noria.tasks.protocol import Continuing

if TYPE_CHECKING:
    from noria.tasks.protocol import Evaluation, TaskFamily


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What ``make_candidate`` made.

    ``package`` and ``reference`` are folders, as a registry takes them; ``params`` what was
    trained with; ``test`` the judged rows, with their places in the frame as index, and
    ``held_out`` what was said of them.
    """

    evaluation: Evaluation
    manifest: Manifest
    package: Path
    reference: Path
    params: dict[str, Any]
    test: pd.DataFrame
    held_out: HeldOut


def make_candidate(
    tasks: TaskFamily,
    spec: ModelSpec,
    frame: pd.DataFrame,
    champion_package: Path | None,
    folder: Path,
    *,
    model: str,
    params: Mapping[str, Any] | None = None,
    plots: Path | None = None,
) -> Made:
    """Make a candidate and judge it against the champion.

    Args:
        tasks: The family.
        spec: The model.
        frame: Labelled rows with their features, as ``TaskFamily.features`` returns them.
        champion_package: The champion's package; None: there is none.
        folder: A new or empty folder; gets ``package``, ``candidate`` and ``reference``.
        model: The resource's name.
        params: Hyperparameters; None: searched for as the spec says.
        plots: A folder for plots; None: none are drawn.

    Raises:
        DataError: Too few rows.
        LeakageError: The same entity would be on both sides of a split.
        TrainingError: A fit fails.
    """
    frame = frame.reset_index(drop=True)
    parts = tasks.split(spec, frame, champion_package)
    if params is None:
        params = tasks.tune(spec, parts.train, folder / "search").params
    package, candidate = folder / "package", folder / "candidate"
    held_out = train(
        tasks,
        spec,
        frame,
        places_of(parts.test),
        Here(tasks, spec, frame, params, model),
        champion=champion_package,
        candidate=candidate,
        package=package,
    )
    evaluation = tasks.evaluate(spec, candidate, parts.test, held_out, champion_package, plots)
    reference = folder / "reference"
    tasks.reference(spec, package, frame, parts.test, held_out, reference)
    return Made(
        evaluation,
        read_manifest(package),
        package,
        reference,
        dict(params),
        parts.test,
        held_out,
    )


def places_of(rows: pd.DataFrame) -> Places:
    """Return the places that rows of a split have in their frame."""
    return rows.index.to_numpy(dtype=np.int64)


def train(
    tasks: TaskFamily,
    spec: ModelSpec,
    frame: pd.DataFrame,
    test: Places,
    fitter: Fitter,
    *,
    champion: Path | None,
    candidate: Path,
    package: Path,
) -> HeldOut:
    """Judge the recipes by rolling origins, and fit the one to be served on all rows.

    Args:
        tasks: The family.
        spec: The model.
        frame: All rows, with an index from 0.
        test: Places of the judged ones.
        fitter: Fits on rows of the frame.
        champion: The champion's package; None: there is none to be compared with.
        candidate: Folder for the package that predicted the last block.
        package: Folder for the package to be served.
    """
    recipes = recipes_of(
        spec.retraining.train_on,
        champion=None if champion is None else read_manifest(champion).recipe,
        own_rounds=fitter.own_rounds,
    )
    blocks = 1 if champion is None else BLOCKS
    judged = judge(tasks, spec, frame, test, recipes, blocks, fitter)
    last = _continued(tasks, spec, judged.last, champion)
    fitter.save(last, candidate, judged.recipe)
    served = last
    if spec.train.refit:
        served = fitter.fit(np.arange(len(frame)), judged.recipe)
        served = _continued(tasks, spec, served, champion or candidate)
    fitter.save(served, package, judged.recipe)
    return judged.held_out


def _continued(tasks: TaskFamily, spec: ModelSpec, fitted: object, package: Path | None) -> object:
    """Return a fit as the version after a package's, where the family keeps anything of it."""
    if package is None or not isinstance(tasks, Continuing):
        return fitted
    return tasks.continued(spec, fitted, package)


def fit_all(
    tasks: TaskFamily, spec: ModelSpec, frame: pd.DataFrame, params: Mapping[str, Any]
) -> Any:
    """Fit on all rows of a frame alike, and judge nothing; a ``Fitted``."""
    return Here(tasks, spec, frame, params, "").fit(np.arange(len(frame)), Recipe())


def params_of(
    tasks: TaskFamily, spec: ModelSpec, params: Mapping[str, Any], recipe: Recipe
) -> Mapping[str, Any]:
    """Return the hyperparameters that a recipe trains with."""
    if recipe.rounds == 1.0:
        return params
    return tasks.with_rounds(spec, params, recipe.rounds) or params


class Here:
    """Fits in this process; the rows are prepared once.

    Args:
        tasks: The family.
        spec: The model.
        frame: All rows.
        params: Hyperparameters.
        model: The resource's name.
    """

    def __init__(
        self,
        tasks: TaskFamily,
        spec: ModelSpec,
        frame: pd.DataFrame,
        params: Mapping[str, Any],
        model: str,
    ) -> None:
        self._tasks, self._spec, self._params, self._model = tasks, spec, params, model
        self.own_rounds = tasks.with_rounds(spec, params, 1.0) is not None
        self.prepared = tasks.prepare(spec, frame)
        self._event = event_of(spec, frame)

    def fit(self, places: Places, recipe: Recipe) -> object:
        """See ``Fitter``."""
        event = None if self._event is None else self._event[places]
        weight = recipe.weights(event, places.size)
        params = params_of(self._tasks, self._spec, self._params, recipe)
        return self._tasks.fit(self._spec, self.prepared, places, params, weight)

    def save(self, fitted: object, package: Path, recipe: Recipe) -> None:
        """See ``Fitter``."""
        self._tasks.save(self._spec, fitted, package, model=self._model, recipe=recipe.name)
