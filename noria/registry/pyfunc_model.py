"""The code of every registered model, whatever its algorithm: MLflow's "model from code".

MLflow copies this file beside the model's package and runs it on load. The
package holds only native formats, so no pickle is ever read. A value is read by the
rule of ``noria.values``, as in training and in the server.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from pathlib import Path
from typing import Any, Final, TypeAlias

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from noria.errors import InvalidInput, Problem
from noria.seldom import Seldom
from noria.tasks.package import Feature, Input, Manifest, load_predictor
from noria.values.columns import ROLES, Role, read_column
from noria.values.vectors import aligned, stacked

Array: TypeAlias = np.ndarray[Any, Any]

_log: Final = logging.getLogger("noria.registry.pyfunc_model")
_SECONDS_BETWEEN_LINES: Final = 60.0
_ROUNDED: Final = 2.0**53


class PackagedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Predicts with the Noria package among its artifacts."""

    def load_context(self, context: Any) -> None:
        """Load the package; MLflow passes ``context`` by keyword."""
        self._predictor = load_predictor(Path(context.artifacts["package"]))
        self._seldom = Seldom(_SECONDS_BETWEEN_LINES)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row per input row; an output of k columns becomes ``name_0 .. name_{k-1}``.

        A looked-up feature that is not given is missing, as when the server finds none.

        Raises:
            MlflowException: Values don't fit their columns; it names column, row and value of
                each column that has any. Its code is INVALID_PARAMETER_VALUE (over HTTP 400).
        """
        del context, params
        outputs: dict[str, Array] = {}
        try:
            frame = _unfolded(model_input)
            columns, absent = _columns(self._predictor.manifest, frame)
            if absent and self._seldom.now():
                _log.warning("counted as missing, as only the server looks them up: %s", absent)
            results = self._predictor.predict(columns)
        except InvalidInput as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        for name, values in results.items():
            if values.ndim == 1:
                outputs[name] = values
            else:
                outputs.update({f"{name}_{i}": values[:, i] for i in range(values.shape[1])})
        return pd.DataFrame(outputs, index=frame.index)


def _unfolded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return columns that are lists of texts as columns: MLflow makes one row of lists of them."""
    cells = frame.iloc[0].to_dict() if len(frame) == 1 else {}
    if not cells or not all(isinstance(cell, list) for cell in cells.values()):
        return frame
    lengths = {name: len(cell) for name, cell in cells.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(
            f"the columns have different lengths: {lengths}", fix="send one value for each row"
        )
    return pd.DataFrame(cells)


def _columns(manifest: Manifest, frame: pd.DataFrame) -> tuple[dict[str, Array], list[str]]:
    """Return the columns that the model reads, and which looked-up ones are not in the frame.

    A text, a series or an image is read as it is. Other columns (keys, a time that no feature
    needs) are not read.
    """
    if not len(frame):
        raise InvalidInput("there are no rows", fix="send one at least")
    columns: dict[str, Array] = {}
    problems: list[Problem] = []
    absent: list[str] = []
    when = manifest.event_time
    read = {
        one.name: one
        for one in manifest.features
        if one.origin not in ("time", "descriptor") and one.kind != "image"
    }
    needs = any(one.origin == "time" or one.kind == "timestamp" for one in manifest.features)
    if when is not None and needs:
        read[when] = Feature(when, "timestamp", "time")
    for name, feature in read.items():
        role = ROLES[feature.kind]
        if name in frame:
            columns[name], problem = _column(manifest, feature, frame[name].rename(name), role)
            problems += [problem] if problem else []
        elif feature.origin == "lookup":
            absent.append(name)
            nothing = pd.Series([None] * len(frame), dtype=object)
            columns[name], _ = read_column(nothing, role)
    for given in manifest.inputs:
        if given.name in columns or given.name not in frame:
            continue
        if given.kind == "text":
            columns[given.name], fault = read_column(frame[given.name].rename(given.name), "text")
            problems += [] if fault is None else [fault.problem(given.name)]
        elif given.kind == "image":
            columns[given.name] = _files(given.name, frame[given.name])
        elif given.kind == "series":
            columns[given.name], problem = _series(given, frame[given.name])
            problems += [problem] if problem else []
    if problems:
        raise InvalidInput("\n".join(map(str, problems)), problems=problems)
    return columns, absent


def _column(
    manifest: Manifest, feature: Feature, values: pd.Series[Any], role: Role
) -> tuple[Array, Problem | None]:
    name = str(values.name)
    found, fault = read_column(values, role)
    if fault is not None:
        return found, fault.problem(name)
    missing = np.asarray(pd.isna(found))
    is_event = name == manifest.event_time
    if missing.any() and (is_event or not manifest.may_be_missing(name)):
        said = f"row {int(np.argmax(missing)) + 1}: missing, and {name} may not be"
        return found, Problem(f"column {name}", said, "send a value")
    if role == "vector":
        return _stacked(found, feature.size, name)
    if role == "time":
        return found.astype("datetime64[ms]").astype(np.int64), None
    if role == "text" and values.dtype == np.float64:
        floats = values.to_numpy()
        rounded = np.abs(floats) == _ROUNDED
        if rounded.any():
            row = int(np.argmax(rounded))
            said = f"row {row + 1}: {floats[row]:.0f} may be another integer that pandas rounded"
            return found, Problem(f"column {name}", said, "give texts, or the dtype Int64")
        return _at_their_width(floats, found, feature.categories), None
    return found, None


def _files(name: str, values: pd.Series[Any]) -> Array:
    """Return the bytes of files, which are given as they are or as base64."""
    found = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        try:
            found[row] = b64decode(value, validate=True) if isinstance(value, str) else value
        except ValueError as error:
            raise InvalidInput(
                f"column {name}, row {row + 1}: not base64: {error}", fix="give the bytes of a file"
            ) from error
    return found


def _series(given: Input, values: pd.Series[Any]) -> tuple[Array, Problem | None]:
    try:
        return aligned(values, given.shape[0]), None
    except InvalidInput as error:
        return np.zeros((0, 0)), Problem(f"column {given.name}", error.message, error.fix)


def _stacked(found: Array, width: int, name: str) -> tuple[Array, Problem | None]:
    try:
        return stacked(found, width), None
    except InvalidInput as error:
        return found, Problem(f"column {name}", error.message, f"send {width} numbers in each row")


def _at_their_width(values: Array, found: Array, known: tuple[str, ...]) -> Array:
    """Return texts of floats at the width that the table of categories knows.

    MLflow hands float32 and float16 on as float64, so that a 0.1 of Parquet arrives as
    0.10000000149011612, while its text in training and in the server is "0.1".
    """
    for width in (np.float32, np.float16):
        with np.errstate(over="ignore"):
            narrow = values.astype(width)
        same = (narrow == values) & ~np.isin(found, known)
        texts, _ = read_column(narrow, "text")
        found = np.where(same & np.isin(texts, known), texts, found)
    return found


mlflow.models.set_model(PackagedModel())
