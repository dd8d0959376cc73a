"""What pictures must be like before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.images import IMAGE
from noria.tasks.images.pixels import Pictures, hashes, pictures_of, shape_of, twice
from noria.tasks.images.reading import named
from noria.tasks.protocol import Check, Split

if TYPE_CHECKING:
    Cut = Callable[[ModelSpec, pd.DataFrame, Path | None], Split]

_SHOWN: Final = 5


def checks_of(spec: ModelSpec, rows: pd.DataFrame, split: Cut) -> tuple[Check, ...]:
    """Say which pictures can't be read, how large the others are, and which are there twice.

    Raises:
        DataError: More can't be read than ``validation.maxMissing`` allows.
    """
    rows = rows.reset_index(drop=True)
    found = pictures_of(rows[IMAGE].to_numpy(object), shape_of(spec))
    faults = list(found.faults.items())
    told = "; ".join(f"{named(rows, row)} {error.message}" for row, error in faults[:_SHOWN])
    if len(faults) > _SHOWN:
        told += f"; and {len(faults) - _SHOWN} more"
    most = spec.data.validation.max_missing
    if len(faults) > most * len(rows):
        raise DataError(
            f"spec.data.validation.maxMissing: {len(faults)} of {len(rows)} pictures can't be "
            f"read, and at most {most:.1%} may be: {told}",
            fix="mend or remove them; paths are relative to spec.task.options.root",
        )
    checks = [
        Check("pictures", "every one can be read")
        if not faults
        else Check("pictures", f"{len(faults)} of {len(rows)} are set aside: {told}")
    ]
    if len(faults) == len(rows):
        return tuple(checks)
    known = np.ones(len(rows), np.bool_)
    known[[row for row, _ in faults]] = False
    low, high = found.sizes[known].min(axis=0), found.sizes[known].max(axis=0)
    checks.append(
        Check("sizes", f"{low[0]} to {high[0]} wide, {low[1]} to {high[1]} high, in pixels")
    )
    kept = np.flatnonzero(known)
    checks.append(_leakage(spec, rows.iloc[kept].reset_index(drop=True), found, kept, split))
    return tuple(checks)


def readable(spec: ModelSpec, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Say of n rows which pictures can be read, (n,)."""
    found = pictures_of(rows[IMAGE].to_numpy(object), shape_of(spec))
    known = np.ones(len(rows), np.bool_)
    known[list(found.faults)] = False
    return known


def _leakage(
    spec: ModelSpec,
    rows: pd.DataFrame,
    found: Pictures,
    kept: NDArray[np.int64],
    split: Cut,
) -> Check:
    """Say how many held-out pictures are among those that are learnt from, whatever their file."""
    all_hashes = hashes(found.matrix[kept], shape_of(spec))
    parts = split(spec, rows, None)
    train, test = parts.train.index.to_numpy(), parts.test.index.to_numpy()
    places = twice((all_hashes[at] for at in train), (all_hashes[at] for at in test))
    if not places:
        return Check("leakage", "no held-out picture is among those that are learnt from")
    first = int(test[places[0]])
    other = next(int(at) for at in train if all_hashes[at] == all_hashes[first])
    return Check(
        "leakage",
        f"{len(places)} of {test.size} held-out pictures are (nearly) the same as one that is "
        f"learnt from, such as {named(rows, first)} and {named(rows, other)}: the metrics flatter "
        "by as much; remove them, or split by a group (spec.data.split)",
    )
