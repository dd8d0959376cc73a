"""From a block of predictions in columns to what the log keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitoring.config import MonitorConfig
from monitoring.keys import KEYS, keys_of
from monitoring.limits import (
    FIRST_MS,
    LAST_MS,
    MAX_ROWS,
    MAX_VERSION_CHARS,
    bounded_text,
    epoch_ms,
)
from monitoring.payload import narrow, prediction_of, score_of
from monitoring.records import NO_TIME, BlockRecord, fits, floats, len_of, matrix_of
from monitoring.table import MISSING, FloatArray, described
from noria.cloudevents import MAX_ID_CHARS
from noria.errors import InvalidInput, shorten
from noria.predictions import (
    LONG,
    MAX_TEXT_CHARS,
    NUMBER,
    RANK,
    TEXT,
    Block,
    DictColumn,
    Values,
    Vectors,
    decode,
)

_COUNT_BYTES: Final = 4
_MAX_KEYS_CHARS: Final = 32 << 20


def read_block(body: bytes, config: MonitorConfig) -> BlockRecord:
    """Return the watched columns and the predictions of a block.

    Raises:
        InvalidInput: It is no block, or does not fit the model; the message names the field.
    """
    block = decode(body)
    if block.model != config.model:
        raise InvalidInput(
            f"model: {shorten(block.model)} is not watched here",
            fix=f"this monitor watches {config.model!r}",
        )
    counts = _counts(block)
    rows = int(counts.sum())
    for name, values in block.inputs.items():
        _check(f"inputs.{shorten(name)}", values, rows)
    for name, vectors in block.vectors.items():
        if not fits(vectors, rows):
            raise InvalidInput(
                f"vectors.{shorten(name)}: {len(vectors.values)} bytes do not fit {rows} vectors "
                f"of {shorten(vectors.width)} numbers"
            )
    given = (*block.inputs, *block.vectors, *block.aside)
    if config.inputs and not any(name in given for name in config.inputs):
        raise InvalidInput(
            f"inputs: none of the model's features is there, only {shorten(list(given))}",
            fix=f"expected {shorten(list(config.inputs))}",
        )
    aside = _aside(block, config)
    watched = [name for name in config.logged if name not in aside]
    keys, are_long = _keys(block.inputs, config.entity_key)
    if are_long:
        aside[KEYS] = LONG
    prediction, unread = _prediction(block, rows, config)
    columns = {name: _column(block.inputs[name]) for name in watched if name in block.inputs}
    for name, feature in config.texts.items():
        texts = block.inputs.get(name)
        if isinstance(texts, DictColumn):
            columns[feature] = described(texts)
    return BlockRecord(
        block.ids,
        block.rows,
        bounded_text(block.version[:MAX_VERSION_CHARS], "version", MAX_VERSION_CHARS),
        rows,
        columns,
        prediction.tobytes(),
        _times(block.inputs, config.event_time, counts),
        keys,
        {name: _finite_vectors(block.vectors[name]) for name in watched if name in block.vectors},
        aside | unread,
        _baseline(block, prediction, config),
    )


def _aside(block: Block, config: MonitorConfig) -> dict[str, str]:
    """Return the features that can't be watched, as the sender says or as they are."""
    found: dict[str, str] = {}
    for name, kind in config.logged.items():
        values = block.inputs.get(name)
        if name in block.aside:
            found[name] = _reason(block.aside[name])
        elif (kind == "vector") != (name in block.vectors) and name in (
            *block.inputs,
            *block.vectors,
        ):
            found[name] = TEXT if isinstance(values, DictColumn) else RANK
        elif isinstance(values, DictColumn) and any(len(t) > MAX_TEXT_CHARS for t in values.values):
            found[name] = LONG
    for name in config.texts:
        if name in block.aside:
            found[name] = _reason(block.aside[name])
        elif name in block.vectors:
            found[name] = RANK
        elif isinstance(block.inputs.get(name), bytes):
            found[name] = NUMBER
    return found


def _reason(said: str) -> str:
    return said if said in (RANK, TEXT, LONG) else "other"


def _finite_vectors(column: Vectors) -> Vectors:
    values = matrix_of(column)
    return column if np.isfinite(values).all() else Vectors(column.width, narrow(values))


def _counts(block: Block) -> NDArray[np.int32]:
    if not block.ids or len(block.rows) != _COUNT_BYTES * len(block.ids):
        raise InvalidInput(f"rows: {len(block.rows)} bytes do not fit {len(block.ids)} ids")
    for i, identity in enumerate(block.ids):
        if not 0 < len(identity) <= MAX_ID_CHARS:
            raise InvalidInput(
                f"ids[{i}]: {shorten(identity)} is empty or over {MAX_ID_CHARS} long"
            )
        if "\0" in identity:
            raise InvalidInput(f"ids[{i}]: {shorten(identity)} holds a NUL")
    counts = np.frombuffer(block.rows, np.int32)
    if counts.min() < 1:
        raise InvalidInput(f"rows[{int(counts.argmin())}]: {int(counts.min())} is not at least 1")
    if counts.sum(dtype=np.int64) > MAX_ROWS:
        raise InvalidInput(f"rows: over {MAX_ROWS} in one block", fix="send smaller blocks")
    return counts


def _check(where: str, values: Values, rows: float) -> None:
    if len_of(values) != rows:
        raise InvalidInput(f"{where}: {len_of(values):g} values do not fit {rows:g} rows")
    if isinstance(values, DictColumn):
        codes = np.frombuffer(values.codes, np.int32)
        if codes.min() < MISSING or codes.max() >= len(values.values):
            raise InvalidInput(f"{where}: codes beyond its {len(values.values)} values")


def _column(values: Values) -> Values:
    return values if isinstance(values, DictColumn) else _finite(values)


def _finite(values: bytes) -> bytes:
    found = floats(values)
    # An infinite value has no place in a mean or a range: it counts as missing.
    infinite = np.isinf(found)
    return np.where(infinite, np.nan, found).tobytes() if infinite.any() else values


def _prediction(
    block: Block, rows: int, config: MonitorConfig
) -> tuple[FloatArray, dict[str, str]]:
    """Return the prediction; without any number nothing, and the output that has none."""
    outputs = block.outputs
    numbers = [name for name, found in outputs.items() if not isinstance(found.values, DictColumn)]
    if not numbers:
        left_out = [name for name in block.aside if name not in config.inputs]
        if not outputs and not left_out:
            raise InvalidInput("outputs: empty")
        name = prediction_of(outputs or left_out)
        reason = TEXT if name in outputs else _reason(block.aside[name])
        return np.empty(0), {name[:MAX_ID_CHARS]: reason}
    name = prediction_of(numbers)
    where, output = f"outputs.{shorten(name)}", outputs[name]
    if isinstance(output.values, DictColumn):
        raise InvalidInput(f"{where}: not numbers")
    if output.width < 1:
        raise InvalidInput(f"{where}.width: {output.width} is not at least 1")
    _check(where, output.values, rows * output.width)
    found = floats(_finite(output.values))
    if output.width > 1:
        found = score_of(found.reshape(rows, output.width), config)
    return found, {}


def _baseline(block: Block, prediction: FloatArray, config: MonitorConfig) -> bytes:
    """Return a simple model's prediction; empty where there is none as wide as the model's."""
    output = block.outputs.get(config.baseline)
    if output is None or isinstance(output.values, DictColumn):
        return b""
    return _finite(output.values) if len(output.values) == prediction.nbytes else b""


def _times(inputs: Mapping[str, Values], name: str | None, counts: NDArray[Any]) -> bytes | None:
    """Return each request's largest event time."""
    if name is None or name not in inputs:
        return None
    values, where = inputs[name], f"inputs.{name[:MAX_ID_CHARS]}"
    if isinstance(values, DictColumn):
        table = [epoch_ms(text, where) for text in values.values] + [NO_TIME]
        found = np.array(table, np.int64)[np.frombuffer(values.codes, np.int32)]
    else:
        numbers = floats(values)
        known = np.isfinite(numbers)
        wrong = np.flatnonzero(known & ~((numbers >= FIRST_MS) & (numbers <= LAST_MS)))
        if wrong.size:
            epoch_ms(float(numbers[wrong[0]]), f"{where}[{int(wrong[0])}]")
        found = np.where(known, np.where(known, numbers, 0.0).astype(np.int64), NO_TIME)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.maximum.reduceat(found, starts).astype(np.int64).tobytes()


def _keys(
    inputs: Mapping[str, Values], names: tuple[str, ...]
) -> tuple[tuple[str, ...] | None, bool]:
    if not names or not all(name in inputs for name in names):
        return None, False
    # A block says a text once, however many rows have it.
    if sum(_chars(inputs[name]) for name in names) > _MAX_KEYS_CHARS:
        raise InvalidInput(f"inputs: entity keys of over {_MAX_KEYS_CHARS} characters in all")
    return keys_of([_values(inputs[name]) for name in names])


def _chars(values: Values) -> int:
    if not isinstance(values, DictColumn):
        return 0
    lengths = np.array([*map(len, values.values), 0], np.int64)
    return int(lengths[np.frombuffer(values.codes, np.int32)].sum())


def _values(values: Values) -> list[str | float | None]:
    """Return one value a row, None where it is missing."""
    if isinstance(values, DictColumn):
        table = (*values.values, None)
        return [table[code] for code in np.frombuffer(values.codes, np.int32).tolist()]
    return [None if value != value else value for value in floats(values).tolist()]
