"""Truth and predictions of every predictor on the same rows, in one order of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from noria.spec import ModelSpec
from noria.tasks.sources.typed import read_as

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Class = str | int | bool


def truth_of(
    spec: ModelSpec, frame: pd.DataFrame, first: Sequence[Class]
) -> tuple[Floats, tuple[Class, ...]]:
    """Return (n,) values, or class codes with the classes: the first version's, then new ones."""
    column = frame[spec.data.target]
    if not first:
        return np.asarray(read_as(column, "number"), np.float64), ()
    import pandas as pd

    codes, found = pd.factorize(read_as(column, "label"))
    known = list(first)
    places = {(type(name), name): place for place, name in enumerate(known)}
    for name in sorted(set(found) - set(known)):
        places[type(name), name] = len(known)
        known.append(name)
    table = np.array([places[type(name), name] for name in found], np.float64)
    return table[codes], tuple(known)


def in_order(said: Floats, ours: Sequence[Class], classes: Sequence[Class]) -> Floats:
    """Put predictions of a version's own classes into the order of all; (n,) for two and values."""
    if not classes or tuple(ours) == tuple(classes):
        return said
    wide = np.zeros((len(said), len(classes)))
    own = np.stack([1 - said, said], axis=1) if said.ndim == 1 else said
    for place, name in enumerate(ours):
        wide[:, classes.index(name)] = own[:, place]
    return wide[:, 1] if len(classes) == 2 else wide
