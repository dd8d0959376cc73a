"""The model.yaml that ``noria init --data`` writes: what a file of rows suggests, to be checked."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd

from noria.errors import DataError, InvalidInput
from noria.spec.words import did_you_mean
from noria.tasks.package import Feature
from noria.tasks.tabular.columns import KEY_NAME, Held, Table, table_of
from noria.tasks.tabular.leakage import DETERMINES, alone, measure_of
from noria.tasks.tabular.schema import Target

CLASSES: Final = 20
"""Different whole numbers that are still taken for classes."""
_ROWS: Final = 1000
_MOST_MISSING: Final = 0.2
_RARE: Final = 0.1
"""Share of the rows under which one of two classes is rare; of more, the less by their number."""

_SUSPECT: Final = 0.95
"""From which on what a column alone says of the target is worth a question."""

_MANY: Final = 20
"""Different values from which on a name that comes again names whose row it is."""

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_WORDS: Final = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}


@dataclass(frozen=True, slots=True)
class _Roles:
    """What the columns are to the model; ``left_out`` and ``notes`` say why, by name.

    ``group`` is the column that names whose rows they are, where no time splits them.
    """

    family: str
    event_time: str | None
    key: str | None
    features: tuple[Held, ...]
    left_out: Mapping[str, str]
    group: str | None
    notes: Mapping[str, str]


def draft(
    name: str, folder: Path, data: Path, target: str | None, family: str | None
) -> dict[str, str]:
    """Return the files of a project that learns from a file of rows.

    The types are those that every value has; the first file of a project is a guess all the same,
    and its comments say where.

    Args:
        name: The model's.
        folder: Where the project will be: the path of the rows is relative to it.
        data: A CSV or Parquet file.
        target: The column to predict.
        family: The task family; None: by what the target holds.

    Raises:
        DataError: The file can't be read, or the target is nothing that can be learnt.
        InvalidInput: No target is named, or none of that name is there.
    """
    table = table_of(data)
    names = list(table.columns)
    if target is None:
        raise InvalidInput(
            "--target: what is to be predicted is not said",
            fix=f"name one of the columns: {', '.join(names)}",
        )
    if target not in table.columns:
        raise InvalidInput(
            f"--target: {data} has no column {target}{did_you_mean(target, names)}",
            fix=f"it has {', '.join(names)}",
        )
    roles = _roles(table, table.columns[target], family)
    return {"model.yaml": "\n".join(_lines(name, folder, table, target, roles)) + "\n"}


def _roles(table: Table, target: Held, family: str | None) -> _Roles:
    if target.distinct < 2:
        raise DataError(
            f"{table.path}: {target.name} can't be learnt: {target.why}",
            fix="name another column as --target",
        )
    numeric = target.kind in ("numeric", "key")
    classes = not numeric or (target.distinct <= CLASSES and _whole(target.values))
    family = family or ("tabular-classification" if classes else "tabular-regression")
    if family == "tabular-regression" and not numeric:
        raise DataError(
            f"{table.path}: {target.name} is {target.kind}, and {family} predicts a number",
            fix="name a column of numbers as --target, or leave --family out",
        )
    left_out = {one.name: one.why for one in table.columns.values() if one.kind == "nothing"}
    keys = [one.name for one in table.columns.values() if one.kind == "key"]
    keys = [one for one in keys if one != target.name]
    left_out |= dict.fromkeys(keys[1:], "it is another in each row, as the entityKey is")
    event_time = _event_time(table, target.name)
    answers = _answers(target, as_classes=family == "tabular-classification")
    group = _group(table, target.name) if event_time is None else None
    features, notes = [], {}
    for one in table.columns.values():
        if one.name == group:
            left_out[one.name] = "it names whose row it is, and the rows to come are of others"
            continue
        if one.name in (target.name, event_time) or one.kind in ("nothing", "key"):
            continue
        later = _later(table, one, event_time)
        if later > 0.5:
            left_out[one.name] = (
                f"it is later than {event_time} in {later:.0%} of the rows; if the label is known "
                f"from then on, write labelTime: {_text(one.name)}"
            )
            continue
        score = _alone(one, target, answers)
        if score >= DETERMINES:
            left_out[one.name] = f"it alone predicts {target.name}: is it known only afterwards?"
            continue
        if score >= _SUSPECT:
            said = f"{measure_of(answers)} {score:.2f} alone: is it known before {target.name}?"
            notes[one.name] = said
        features.append(one)
    if not features:
        raise DataError(f"{table.path}: no column is left to learn from", fix="give more columns")
    key = keys[0] if keys else None
    return _Roles(family, event_time, key, tuple(features), left_out, group, notes)


def _event_time(table: Table, target: str) -> str | None:
    """Return the column of moments that rows go by: in order if one is, else the most different."""
    moments = [
        one
        for one in table.columns.values()
        if one.kind == "timestamp" and not one.missing and one.name != target
    ]
    rising = [one for one in moments if bool((np.diff(one.values) >= np.timedelta64(0)).all())]
    for some in (rising, moments):
        if some:
            return max(some, key=lambda one: one.distinct).name
    return None


def _group(table: Table, target: str) -> str | None:
    """Return the column that is named as a key is, and whose values come again."""
    some = [
        one
        for one in table.columns.values()
        if one.name != target
        and KEY_NAME.search(one.name)
        and one.kind in ("numeric", "categorical")
        and not one.missing
        and _MANY <= one.distinct < table.rows
        and (one.kind == "categorical" or _whole(one.values))
    ]
    return max(some, key=lambda one: one.distinct).name if some else None


def _later(table: Table, one: Held, event_time: str | None) -> float:
    if one.kind != "timestamp" or event_time is None:
        return 0.0
    return float((one.values > table.columns[event_time].values).mean())


def _answers(target: Held, *, as_classes: bool) -> Target:
    known = ~np.asarray(pd.isna(target.values))
    if not as_classes:
        return Target(target.values[known].astype(np.float64), np.zeros(0, np.int64), ())
    codes, uniques = pd.factorize(target.values[known])
    return Target(codes.astype(np.float64), codes.astype(np.int64), tuple(map(str, uniques)))


_KINDS: Final[Mapping[str, Literal["numeric", "categorical", "timestamp", "text"]]] = {
    "numeric": "numeric",
    "boolean": "numeric",
    "categorical": "categorical",
    "timestamp": "timestamp",
    "text": "text",
}


def _alone(one: Held, target: Held, answers: Target) -> float:
    """Return how well a column alone predicts the target."""
    if one.kind not in _KINDS:
        return 0.0
    known = ~np.asarray(pd.isna(target.values))
    frame = pd.DataFrame({one.name: pd.Series(one.values)[known].reset_index(drop=True)})
    return alone(Feature(one.name, _KINDS[one.kind]), frame, answers)


def _rarest(target: Held) -> str:
    """Say which class is rare; empty: none is."""
    counts = pd.Series(target.values).dropna().value_counts(normalize=True)
    if counts.iloc[-1] >= _RARE * 2.0 / counts.size:
        return ""
    said = f"{_text(str(counts.index[-1]))} is {counts.iloc[-1]:.1%} of the rows"
    return f"{said}: average-precision tells more of it than accuracy does"


def _lines(name: str, folder: Path, table: Table, target: str, roles: _Roles) -> Iterator[str]:
    yield f"# A first model of {table.path.name}: check what each column was taken for."
    yield "# What is not written here has a default; `noria schema json` lists them all."
    yield "apiVersion: noria.dev/v1alpha1"
    yield "kind: Model"
    yield "metadata:"
    yield f"  name: {name}"
    yield "spec:"
    yield "  task:"
    yield f"    family: {roles.family}"
    yield "  data:"
    yield "    source:"
    yield f"      {_source(folder, table)}"
    yield "    features:"
    for one in roles.features:
        said = [f"missing in {one.missing:.1%} of the rows"] if one.missing else []
        said += [roles.notes[one.name]] if one.name in roles.notes else []
        note = f"  # {'; '.join(said)}" if said else ""
        yield f"      - {{name: {_text(one.name)}, type: {one.kind}}}{note}"
    for left, why in roles.left_out.items():
        if left != target:
            yield f"      # {left} is left out: {why}"
    classes = roles.family == "tabular-classification"
    rare = _rarest(table.columns[target]) if classes else ""
    yield f"    target: {_text(target)}{f'  # {rare}' if rare else ''}"
    if roles.event_time is not None:
        yield f"    eventTime: {_text(roles.event_time)}  # when a prediction is asked for?"
    else:
        yield "    # No column has a time in each row: write eventTime if one comes, for rows age."
    if roles.group is not None:
        name = _text(roles.group)
        yield f"    split: {{kind: group, groupKey: {name}}}  # nobody is on both sides"
    if roles.key is not None:
        yield f"    entityKey: [{_text(roles.key)}]  # labels join by it"
    labelled = round(table.rows * (1.0 - table.columns[target].missing))
    most = max(one.missing for one in roles.features)
    if labelled < _ROWS or most > _MOST_MISSING:
        yield "    validation:"
        if labelled < _ROWS:
            least = max(1, labelled * 4 // 5)
            yield f"      minRows: {least}  # there are {labelled}; by default {_ROWS}"
        if most > _MOST_MISSING:
            # A little more than was measured: the next rows may lack more.
            yield f"      maxMissing: {min(1.0, math.ceil((most + 0.02) * 20) / 20):g}"
    yield "  train:"
    yield "    algorithm: lightgbm"


def _source(folder: Path, table: Table) -> str:
    path = Path(os.path.relpath(table.path.resolve(), folder.resolve())).as_posix()
    source = table.csv
    if source is None:
        return f"parquet: {{paths: [{_text(path)}]}}"
    extra = ""
    if source.separator != ",":
        extra += f", separator: {json.dumps(source.separator)}"
    if source.decimal != ".":
        extra += f", decimal: {json.dumps(source.decimal)}"
    if source.missing_values != ("",):
        extra += f", missingValues: {json.dumps(list(source.missing_values))}"
    return f"csv: {{paths: [{_text(path)}]{extra}}}"


def _text(value: str) -> str:
    """Return a text as YAML reads it, in quotes where it needs them."""
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value, ensure_ascii=False)


def _whole(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool((known == np.floor(known)).all())
