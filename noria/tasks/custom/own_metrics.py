"""Metrics of the project's own: a function asks a model whatever it likes, and says what came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput, OwnCodeError
from noria.spec import ModelSpec
from noria.tasks.custom.dataset import frame_of, matrix_of
from noria.tasks.custom.describe import CustomOptions, file_and_name
from noria.tasks.custom.own_class import imported, told
from noria.tasks.tabular.evaluation import Measure, scores

if TYPE_CHECKING:
    import pandas as pd

    from noria.tasks.tabular.evaluation import MatrixPredictor

Array = NDArray[np.float64]
Function: TypeAlias = Callable[[Callable[["pd.DataFrame"], Array], "pd.DataFrame", Any], Any]


def measure_by(spec: ModelSpec, options: CustomOptions, code: Mapping[str, str]) -> Measure:
    """Return what measures a model, champion and baseline too, by ``options.ownMetrics``.

    Raises:
        InvalidInput: A module fails, or has no such function.
        NotInstalled: A module imports what is not installed.
    """
    functions = {one.name: _function(one.function, code) for one in options.own_metrics}
    target = spec.data.target or ""

    def measure(model: MatrixPredictor, rows: pd.DataFrame, matrix: Array) -> dict[str, Array]:
        features = model.manifest.features

        def predict(asked: pd.DataFrame) -> Array:
            return scores(model, matrix_of(features, asked))

        return {
            name: _measured(where, function, predict, frame_of(features, matrix), rows[target])
            for name, (where, function) in functions.items()
        }

    return measure


def _function(where: str, code: Mapping[str, str]) -> tuple[str, Function]:
    file, name = file_and_name(where)
    found = getattr(imported(file, code[file]), name, None)
    if not callable(found) or isinstance(found, type):
        raise InvalidInput(
            f"spec.task.options.ownMetrics: {file} has no function {name}",
            fix="define it: a function of predict, features and target, a number for each row",
        )
    return where, found


def _measured(
    where: str,
    function: Function,
    predict: Callable[[pd.DataFrame], Array],
    features: pd.DataFrame,
    target: pd.Series[Any],
) -> Array:
    fix = "return one finite number for each row: an array of shape (n,)"
    with told(where, where.partition(":")[0], "it", fix):
        found = np.asarray(function(predict, features, target.to_numpy()), np.float64)
    if found.shape != (len(features),):
        said = f"{where}: returned the shape {found.shape} for {len(features)} rows"
        raise OwnCodeError(said, fix=fix)
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        place = int(bad[0])
        raise OwnCodeError(f"{where}: returned {found[place]:g} for row {place}", fix=fix)
    return found
