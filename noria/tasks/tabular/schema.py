"""From frames to columns, categories and classes: what the model reads and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, shorten
from noria.spec import Data, ModelSpec
from noria.spec.data import Feature as SpecFeature
from noria.tasks.encoding import MOMENT_PARTS
from noria.tasks.package import Feature, Input, Lookup
from noria.tasks.sources.rows import moments
from noria.tasks.sources.typed import read_as
from noria.tasks.tabular.texts import WIDTH
from noria.values import Class, place_of
from noria.values.vectors import stacked, width_of

# HistGradientBoosting takes 255 codes at most; one limit for all algorithms makes them agree.
MAX_CATEGORIES: Final = 250
_MAX_CLASSES: Final = 1000
_DATATYPES: Final = {
    "numeric": "FP64",
    "categorical": "BYTES",
    "text": "BYTES",
    "boolean": "BOOL",
}


@dataclass(frozen=True, slots=True)
class Target:
    """The target of n rows: class codes with their classes, or values with none."""

    values: NDArray[np.float64]
    codes: NDArray[np.int64]
    classes: tuple[Class, ...]


def features_of(data: Data, frame: pd.DataFrame) -> tuple[Feature, ...]:
    """Return the features with their category tables, from training rows.

    A table holds the ``MAX_CATEGORIES`` most frequent values, in alphabetical
    order; the others are not watched one by one: ``rarer_levels`` has them.
    """
    features = []
    for feature in data.features:
        origin: Literal["input", "lookup"] = "lookup" if feature.source_ == "feast" else "input"
        if feature.type == "categorical":
            table = _categories(frame[feature.name])
            features.append(Feature(feature.name, "categorical", origin, table))
        elif feature.type == "boolean":
            features.append(Feature(feature.name, "boolean", origin))
        elif feature.type == "vector":
            width = _width(feature, frame[feature.name])
            features.append(Feature(feature.name, "vector", origin, width=width))
        elif feature.type == "timestamp":
            parts = len(MOMENT_PARTS) + (data.event_time is not None)
            features.append(Feature(feature.name, "timestamp", origin, width=parts))
        elif feature.type == "text":
            width = WIDTH if feature.width is None else feature.width
            features.append(Feature(feature.name, "text", origin, width=width))
        else:
            features.append(Feature(feature.name, "numeric", origin))
    features.extend(Feature(name, "numeric", "time") for name in data.time_features)
    features.extend(Feature(name, "numeric", "descriptor") for name in data.distances().values())
    return tuple(features)


def rarer_levels(
    features: Iterable[Feature], frame: pd.DataFrame, most: int
) -> dict[str, tuple[str, ...]]:
    """Return, by feature, the values that its table had no room for, the most frequent first.

    Up to ``most`` with those of the table. Features whose table has room are left out.
    """
    found: dict[str, tuple[str, ...]] = {}
    for feature in features:
        if feature.kind != "categorical" or len(feature.categories) < MAX_CATEGORIES:
            continue
        rarer = _by_frequency(counts_of(frame[feature.name]))[MAX_CATEGORIES:most]
        if rarer:
            found[feature.name] = tuple(rarer)
    return found


def inputs_of(data: Data, features: Iterable[Feature], frame: pd.DataFrame) -> tuple[Input, ...]:
    """Return what a client sends, in the order of ``Data.request_columns``.

    A vector is sent as float32 where its training rows are.
    """
    kinds = {feature.name: feature.type for feature in data.sent_features()}
    vectors = {feature.name: feature for feature in features if feature.kind == "vector"}
    inputs = []
    for name in data.request_columns():
        if name in vectors:
            first = next(value for value in frame[name] if value is not None)
            datatype = "FP32" if first.dtype == np.float32 else "FP64"
            inputs.append(Input(name, datatype, "vector", width=vectors[name].size))
        elif kinds.get(name) == "timestamp":
            inputs.append(Input(name, "INT64", "timestamp"))
        elif name in kinds:
            inputs.append(Input(name, _DATATYPES[kinds[name]], kinds[name]))
        elif name == data.event_time:
            needed = bool(data.time_features or data.looked_up_features() or data.distances())
            inputs.append(Input(name, "INT64", "timestamp", optional=not needed))
        else:
            needed = name in data.join_keys and bool(data.looked_up_features())
            inputs.append(Input(name, "BYTES", "categorical", optional=not needed))
    return tuple(inputs)


def lookup_of(data: Data) -> Lookup | None:
    """Return how the server looks features up, or None when it has none to look up."""
    looked_up = data.looked_up_features()
    if data.source.feast is None or not looked_up:
        return None
    return Lookup(
        kind="feast",
        repository=data.source.feast.repository,
        service=data.source.feast.service,
        join_keys=tuple(data.join_keys),
        features=tuple(feature.name for feature in looked_up),
    )


def columns_of(
    features: Iterable[Feature], event_time: str | None, frame: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Return a frame's columns as a predictor takes them.

    Raises:
        DataError: A column is missing, or holds no numbers where they are needed.
    """
    columns: dict[str, np.ndarray] = {}
    for feature in features:
        if feature.origin == "descriptor":
            continue
        needs_time = feature.origin == "time" or feature.kind == "timestamp"
        if needs_time and event_time is not None and event_time not in columns:
            columns[event_time] = moments(frame, event_time)
        if feature.origin == "time":
            continue
        if feature.name not in frame:
            raise DataError(
                f"the rows have no column {feature.name}",
                fix=f"they have {', '.join(map(str, frame.columns))}",
            )
        column = frame[feature.name]
        if feature.kind in ("categorical", "text"):
            columns[feature.name] = texts(column)
        elif feature.kind == "timestamp":
            when = read_as(column, "time").astype("datetime64[ms]")
            columns[feature.name] = when.astype(np.int64)
        elif feature.kind == "image":
            columns[feature.name] = column.to_numpy(object)
        elif feature.kind == "vector":
            columns[feature.name] = stacked(read_as(column, "vector"), feature.size)
        else:
            columns[feature.name] = numbers(column)
    return columns


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """Return a column of numbers or booleans as float64, NaN where missing.

    Raises:
        DataError: It holds something else; the message names column, row and value.
    """
    return read_as(column, "number")


def texts(column: pd.Series) -> np.ndarray:
    """Return a column of categorical values as an object array of str and None.

    Raises:
        DataError: A value has no text; the message names column, row and value.
    """
    return read_as(column, "text")


def target_of(spec: ModelSpec, frame: pd.DataFrame, known: tuple[Class, ...] = ()) -> Target:
    """Return the target of a frame's rows; of a model without one, zeros.

    Args:
        spec: The model.
        frame: Labelled rows.
        known: The model's classes, when it has been fitted; else they are taken from the rows.

    Raises:
        DataError: The target can't be read, or a label is none of the known classes.
    """
    none = np.zeros(0, dtype=np.int64)
    if spec.data.target is None:
        return Target(np.zeros(len(frame)), none, ())
    column = frame[spec.data.target]
    if not spec.is_classification:
        values = numbers(column)
        if not np.isfinite(values).all():
            raise DataError(
                f"spec.data.target: {spec.data.target} is not finite in "
                f"{int((~np.isfinite(values)).sum())} rows",
                fix="drop those rows in the data module",
            )
        return Target(values, none, ())
    codes, uniques = pd.factorize(read_as(column, "label"))
    labels: list[Class] = list(uniques)
    if (codes < 0).any():
        raise DataError(
            f"spec.data.target: {spec.data.target} is missing in {int((codes < 0).sum())} rows",
            fix="drop those rows",
        )
    classes = known or _classes(spec, labels)
    place = {(type(label), label): code for code, label in enumerate(classes)}
    table = [place.get((type(label), label), -1) for label in labels]
    if -1 in table:
        raise DataError(
            f"spec.data.target: the label {shorten(labels[table.index(-1)])} is none of the "
            f"classes {shorten(list(classes))}",
            fix="train again with rows of every class",
        )
    mapped = np.array(table, dtype=np.int64)[codes]
    return Target(mapped.astype(np.float64), mapped, classes)


def _classes(spec: ModelSpec, labels: list[Class]) -> tuple[Class, ...]:
    name = spec.data.target
    if len({type(label) for label in labels}) > 1:
        raise DataError(
            f"spec.data.target: {name} mixes {shorten(labels[:5])}",
            fix="give labels of one type: all texts, all integers or all booleans",
        )
    classes = sorted(labels)
    if len(classes) < 2:
        raise DataError(
            f"spec.data.target: {name} has only the value {shorten(classes)}",
            fix="train on rows of at least two classes",
        )
    if len(classes) > _MAX_CLASSES:
        raise DataError(
            f"spec.data.target: {name} has {len(classes)} different values",
            fix="predict it as a number: a regression",
        )
    order: tuple[Class, ...] = tuple(getattr(spec.task.options, "order", ()))
    if order:
        return _in_order(order, tuple(classes))
    wanted: Class | None = getattr(spec.task.options, "positive_class", None)
    if wanted is None:
        return tuple(classes)
    place = place_of(wanted, classes)
    if len(classes) != 2 or place is None:
        raise DataError(
            f"spec.task.options.positiveClass: {shorten(wanted)} is not one of two classes "
            f"{shorten(classes)}",
            fix="name one of them, or remove positiveClass",
        )
    return (classes[1 - place], classes[place])


def _in_order(order: tuple[Class, ...], classes: tuple[Class, ...]) -> tuple[Class, ...]:
    """Return the classes in the order that the spec gives them.

    Raises:
        DataError: It names other classes than there are.
    """
    path = "spec.task.options.order"
    for named in order:
        if place_of(named, classes) is None:
            raise DataError(
                f"{path}: no row is {shorten(named)}; the classes are {shorten(list(classes))}",
                fix="correct the order, or give rows of that class",
            )
    for found in classes:
        if place_of(found, order) is None:
            raise DataError(
                f"{path}: the class {shorten(found)} is not in it",
                fix="say where it belongs, or drop its rows",
            )
    return order


def counts_of(column: pd.Series) -> dict[str, int]:
    """Return how often each category is there, in alphabetical order."""
    codes, uniques = pd.factorize(texts(column), sort=True)
    counts = np.bincount(codes[codes >= 0], minlength=len(uniques))
    return dict(zip(uniques.tolist(), counts.tolist(), strict=True))


def _width(feature: SpecFeature, column: pd.Series) -> int:
    """Return how many numbers the vectors of a column have.

    Raises:
        DataError: None is there, or they are of another width than the spec says.
    """
    width = width_of(column.to_numpy())
    if not width:
        raise DataError(
            f"column {feature.name}: holds no vector",
            fix="give a list of numbers in each row, or remove the feature",
        )
    if feature.width not in (None, width):
        raise DataError(
            f"column {feature.name}: has vectors of {width} numbers, and "
            f"spec.data.features says {feature.width}",
            fix="correct the width, or the rows",
        )
    return width


def _categories(column: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(_by_frequency(counts_of(column))[:MAX_CATEGORIES]))


def _by_frequency(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda text: (-counts[text], text))
