"""Predictions as blocks of columns (``noria.predictions``): a few copies instead of JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from noria.predictions import RANK, Block, DictColumn, Output, Values, Vectors, encode
from serving.predicted import Predicted, Source

_EXACT: Final = 1 << 53
"""Whole numbers below it are exact as float64."""
_MATRIX: Final = 2
_MISSING: Final = -1

Array = np.ndarray[Any, Any]


def group_by_schema(
    predicted: Sequence[Predicted], max_cells: int
) -> Iterator[Sequence[Predicted]]:
    """Cut into runs of the same columns, of ``max_cells`` values at most (or one prediction)."""
    start = cells = 0
    width = predicted[0].width if predicted else 0
    for place, one in enumerate(predicted):
        first = predicted[start].outcome
        same = (
            one.outcome.columns.keys() == first.columns.keys()
            and one.outcome.results.keys() == first.results.keys()
        )
        if place > start and (not same or cells + width * one.outcome.rows > max_cells):
            yield predicted[start:place]
            start, cells, width = place, 0, one.width
        cells += width * one.outcome.rows
    if predicted:
        yield predicted[start:]


def write_block(predicted: Sequence[Predicted], source: Source) -> bytes | None:
    """Return predictions of the same columns as one block; None when a column has no such form."""
    outcomes = [one.outcome for one in predicted]
    inputs: dict[str, Values] = {}
    vectors: dict[str, Vectors] = {}
    aside: dict[str, str] = {}
    for name in _shown(outcomes[0].columns, source.hidden):
        parts = [outcome.columns[name] for outcome in outcomes]
        ranks = {part.ndim for part in parts}
        if max(ranks) > _MATRIX:
            aside[name] = RANK
            continue
        if _MATRIX in ranks:
            found = _vectors(parts)
            if found is None:
                return None
            vectors[name] = found
            continue
        values = _values(parts)
        if values is None:
            return None
        inputs[name] = values
    outputs: dict[str, Output] = {}
    for name in _shown(outcomes[0].results, source.hidden):
        results = [np.asarray(outcome.results[name]) for outcome in outcomes]
        if any(part.ndim > _MATRIX for part in results):
            aside[name] = RANK
            continue
        output = _output(results)
        if output is None:
            return None
        outputs[name] = output
    rows = np.array([outcome.rows for outcome in outcomes], np.int32).tobytes()
    ids = tuple(one.id for one in predicted)
    return encode(Block(source.model, source.version, ids, rows, inputs, outputs, vectors, aside))


def _shown(columns: Mapping[str, Any], redact: frozenset[str]) -> list[str]:
    return [name for name in columns if name not in redact]


def _output(parts: Sequence[Array]) -> Output | None:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) != 1:
        return None
    shape = shapes.pop()
    values = _values([part.reshape(-1) for part in parts])
    return None if values is None else Output(values, shape[0] if shape else 1)


def _vectors(parts: Sequence[Array]) -> Vectors | None:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) != 1 or any(part.dtype.kind not in "fiu" for part in parts):
        return None
    whole = np.concatenate(parts)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which counts as missing
        return Vectors(whole.shape[1], whole.astype("<f4", copy=False).tobytes())


def _values(parts: Sequence[Array]) -> Values | None:
    kinds = {part.dtype.kind for part in parts}
    if "f" in kinds and kinds <= {"f", "b"}:  # booleans, of which some are missing
        return np.concatenate(parts).astype(np.float64, copy=False).tobytes()
    if kinds <= {"i", "u"}:
        whole = np.concatenate(parts)
        if int(whole.max()) < _EXACT and int(whole.min()) > -_EXACT:
            return whole.astype(np.float64).tobytes()
        return _texts(list(map(str, whole.tolist())))
    if kinds == {"b"}:
        return DictColumn(("false", "true"), np.concatenate(parts).astype(np.int32).tobytes())
    if kinds == {"M"}:
        return _texts(np.concatenate(parts).astype(str).tolist())
    if kinds <= {"O", "U"}:
        return _texts([value for part in parts for value in part.tolist()])
    return None


def _texts(values: Sequence[Any]) -> DictColumn | None:
    index: dict[str, int] = {}
    codes = []
    for value in values:
        if isinstance(value, str):
            codes.append(index.setdefault(value, len(index)))
        elif value is None:
            codes.append(_MISSING)
        else:
            return None
    return DictColumn(tuple(index), np.array(codes, np.int32).tobytes())
