"""Labels of rows, where there are any: they judge, and nothing is fitted by them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, shorten
from noria.spec import ModelSpec
from noria.tasks.sources.typed import read_as


def labels_of(spec: ModelSpec, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return the label of n rows, (n,): 1 for an anomaly, 0 for none, NaN where nobody said.

    Raises:
        DataError: A label is something else; the message names column, row and value.
    """
    name = spec.data.target
    if name is None:
        return np.full(len(rows), np.nan)
    found = read_as(rows[name], "number")
    wrong = ~np.isnan(found) & (found != 0.0) & (found != 1.0)
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"spec.data.target: {name} is {shorten(float(found[place]))} in row {place + 1} of "
            f"{len(rows)}, and in {int(wrong.sum())} rows neither 0 nor 1",
            fix="write 1 for an anomaly, 0 for none, and leave it empty where nobody looked",
        )
    return found
