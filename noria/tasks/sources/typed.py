"""Columns of files, read by the one rule of values into frames; every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pandas as pd

from noria.errors import DataError, Problem, shorten
from noria.spec import ModelSpec
from noria.values.columns import ROLES, Fault, Role, read_column
from noria.values.vectors import width_of

if TYPE_CHECKING:
    import pyarrow as pa

Read: TypeAlias = Callable[[Any, Role], tuple[np.ndarray, Fault | None]]

_MOST_PROBLEMS: Final = 100
_TARGETS: Final[Mapping[str, Role]] = {"class": "label", "text": "text"}


@dataclass(frozen=True, slots=True)
class Part:
    """Columns of one file (or another origin), and what is wrong with it as a whole."""

    origin: str
    columns: Mapping[str, pa.ChunkedArray]
    problems: Sequence[Problem] = field(default=())


def roles_of(spec: ModelSpec) -> dict[str, Role]:
    """Return how each column of the rows is read, looked-up features included."""
    data = spec.data
    roles = {feature.name: ROLES[feature.type] for feature in data.features}
    for name in (data.event_time, data.label_time):
        if name is not None:
            roles.setdefault(name, "time")
    if data.target is not None:
        roles.setdefault(data.target, _TARGETS.get(spec.family.target or "", "number"))
    if data.weight is not None:
        roles.setdefault(data.weight, "weight")
    for name in (*data.entity_key, *data.join_keys, data.split.group_key):
        if name is not None:
            roles.setdefault(name, "text")
    for name in data.validation.ranges:
        roles.setdefault(name, "number")
    return roles


def frame_of(parts: Sequence[Part], roles: Mapping[str, Role], read: Read) -> pd.DataFrame:
    """Return the parts, one below the other, as a frame.

    number, weight: float64. boolean: nullable boolean. text: objects, str or None. time:
    datetime64[us, UTC]. label: objects, or what they are when none is missing. vector: objects,
    float arrays of one length or None.

    Raises:
        DataError: A value can't be read; ``problems`` has one of each column that has any.
    """
    problems = [problem for part in parts for problem in part.problems]
    columns: dict[str, Any] = {}
    for name, role in roles.items():
        found: list[np.ndarray] = []
        for group in _alike([part for part in parts if name in part.columns], name):
            values, fault = _read(group, name, role, read)
            found.append(values)
            if fault is not None:
                problems.append(fault)
        if not problems:
            values = np.concatenate(found) if len(found) > 1 else found[0]
            if role == "label" and len({*map(type, values.tolist())} - {type(None)}) > 1:
                problems.append(_mixed(name, values))
            if role == "vector" and len(widths := {width_of(part) for part in found} - {0}) > 1:
                problems.append(_of_widths(name, widths))
            columns[name] = _series(values, role)
    refuse(problems)
    # The columns are ours alone: put together as they are, they are not there twice.
    return pd.DataFrame(columns, copy=False)


def read_frame(frame: pd.DataFrame, roles: Mapping[str, Role], origin: str = "") -> pd.DataFrame:
    """Return a frame whose columns in ``roles`` are read by the rule; see ``frame_of``.

    Raises:
        DataError: A value can't be read; ``problems`` has one of each column that has any.
    """
    problems: list[Problem] = []
    columns: dict[str, Any] = {}
    for name, role in roles.items():
        values, fault = read_column(frame[name], role)
        if fault is not None:
            problems.append(fault.problem(name, origin))
        else:
            columns[name] = pd.Series(_series(values, role), index=frame.index)
    refuse(problems)
    found = pd.DataFrame({name: columns.get(str(name), frame[name]) for name in frame}, copy=False)
    found.attrs = frame.attrs
    return found


def read_as(column: pd.Series, role: Role) -> np.ndarray:
    """Return a column read by the one rule (``noria.values.columns.read_column``).

    Raises:
        DataError: A value does not fit; the message names column, row and value.
    """
    values, fault = read_column(column, role)
    if fault is not None:
        problem = fault.problem(str(column.name))
        raise DataError(str(problem), problems=[problem])
    return values


def refuse(problems: Sequence[Problem]) -> None:
    """Raise a DataError of the problems, if there are any."""
    if problems:
        shown = "\n".join(map(str, problems[:_MOST_PROBLEMS]))
        more = len(problems) - _MOST_PROBLEMS
        raise DataError(f"{shown}\nand {more} more" if more > 0 else shown, problems=problems)


def _alike(parts: Sequence[Part], name: str) -> list[list[Part]]:
    """Cut into runs that hold one type, so that a column is judged as a whole where it can be."""
    runs: list[list[Part]] = []
    for part in parts:
        if runs and runs[-1][0].columns[name].type == part.columns[name].type:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _read(
    group: Sequence[Part], name: str, role: Role, read: Read
) -> tuple[np.ndarray, Problem | None]:
    import pyarrow as pa

    chunks = [chunk for part in group for chunk in part.columns[name].chunks]
    values, fault = read(pa.chunked_array(chunks, group[0].columns[name].type), role)
    if fault is None:
        return values, None
    first = 0
    for part in group:
        rows = len(part.columns[name])
        if fault.row is None or fault.row < first + rows:
            return values, fault.problem(name, part.origin, -first)
        first += rows
    return values, fault.problem(name)


def _series(values: np.ndarray, role: Role) -> Any:
    if role == "boolean":
        missing = np.isnan(values)
        return pd.arrays.BooleanArray(np.where(missing, 0.0, values).astype(bool), missing)
    if role == "time":
        return pd.DatetimeIndex(values, tz="UTC").as_unit("us")
    return values


def _of_widths(name: str, widths: Collection[int]) -> Problem:
    said = f"has vectors of {' and '.join(map(str, sorted(widths)))} numbers"
    return Problem(f"column {name}", said, "give vectors of one width in all files")


def _mixed(name: str, values: np.ndarray) -> Problem:
    shown = {type(value): value for value in values.tolist() if value is not None}
    return Problem(
        f"column {name}",
        f"mixes labels of several types, such as {shorten(list(shown.values()))}",
        "give labels of one type: all texts, all integers or all booleans",
    )
