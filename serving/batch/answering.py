"""What a model says of some rows, and which of them it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from noria.errors import InvalidInput, NotFinite
from noria.exchange.datatypes import DATATYPES
from noria.tasks.package import Output
from serving.batch.chunks import Chunk
from serving.runner import Outcome
from serving.service import Loaded

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that has no answer: its place in its file, from 0, what is kept of it, and why."""

    row: int
    kept: Mapping[str, Any]
    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows next to each other that were answered, and what the predictor saw and said of them."""

    chunk: Chunk
    outcome: Outcome


def answer(loaded: Loaded, chunk: Chunk) -> list[Answered | Refused]:
    """Answer rows together; where one can't be, find it by halves, so that the others are.

    Raises:
        ServingError: The predictor failed on a row, which is not the row's fault.
    """
    return list(_answered(loaded, chunk))


def _answered(loaded: Loaded, chunk: Chunk) -> Iterator[Answered | Refused]:
    try:
        yield Answered(chunk, loaded.runner.answer(loaded.binder.bind(chunk.tensors())))
    except (InvalidInput, NotFinite) as error:
        if chunk.rows == 1:
            yield Refused(chunk.first, chunk.kept(0), _why(error))
            return
        middle = chunk.rows // 2
        yield from _answered(loaded, chunk.cut(0, middle))
        yield from _answered(loaded, chunk.cut(middle, chunk.rows))


def _why(error: InvalidInput | NotFinite) -> str:
    """Return what is wrong with one row, without its place among those that were asked about."""
    said = str(error).removesuffix(" for row 0")
    return said.replace("instances[*].", "").replace("instances[0].", "").replace(".data[0]", "")


def arrays_of(outcome: Outcome, outputs: Sequence[Output]) -> dict[str, pa.Array]:
    """Return each output of n rows as an Arrow array; NaN, where it may be, is null."""
    return {one.name: _array(np.asarray(outcome.results[one.name]), one) for one in outputs}


def type_of(output: Output) -> pa.DataType:
    """Return the Arrow type of an output: of a vector, a list of its width."""
    import pyarrow as pa

    datatype = DATATYPES[output.datatype]
    found = pa.string() if datatype.group == "bytes" else pa.from_numpy_dtype(datatype.dtype)
    for size in reversed(output.shape):
        found = pa.list_(found, size)
    return found


def _array(values: np.ndarray[Any, Any], output: Output) -> pa.Array:
    import pyarrow as pa

    wanted = type_of(output)
    flat, inner = values.reshape(-1), wanted
    for _ in output.shape:
        inner = inner.value_type
    if DATATYPES[output.datatype].group == "bytes":
        made = pa.array(flat.tolist(), inner)
    else:
        made = pa.array(flat.astype(DATATYPES[output.datatype].dtype, copy=False), inner,
                        from_pandas=True)  # fmt: skip
    for size in reversed(output.shape):
        made = pa.FixedSizeListArray.from_arrays(made, size)
    return made
