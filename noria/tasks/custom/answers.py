"""What the project's model answered, held against what it may answer."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import NotFinite, OwnCodeError, shorten

_SUM: Final = 1e-3
"""How far the probabilities of a row may be from 1 together: float32 is nearer."""

_EDGE: Final = 1e-6


class OwnNotFinite(OwnCodeError, NotFinite):
    """The project's model answered NaN or infinity."""


def checked(answer: object, rows: int, classes: tuple[Any, ...], *, by: str) -> NDArray[np.float64]:
    """Return an answer as (n,) values or probabilities of the second class, or (n, k) of k > 2.

    Args:
        answer: What the model said of n rows.
        rows: n.
        classes: The k classes; empty: it says a number.
        by: Who said it, such as ``model.py:Digits``.

    Raises:
        OwnCodeError: It is of another shape or type, or no probabilities, or not finite.
    """
    try:
        found = np.asarray(answer)
    except Exception as error:
        raise _wrong(
            by, f"returned a {type(answer).__name__} that is no array: {error}", classes
        ) from error
    if found.dtype.kind not in "fiub":
        raise _wrong(by, f"returned {shorten(answer, 60)}, of the type {found.dtype}", classes)
    shapes = _shapes(rows, len(classes))
    if found.shape not in shapes:
        raise _wrong(by, f"returned the shape {found.shape} for {rows} rows", classes)
    if classes and rows and found.dtype.kind in "iub":
        raise _wrong(by, f"returned whole numbers ({found.dtype}), which look like labels", classes)
    values = found.astype(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        place, value = int(np.argwhere(bad)[0][0]), float(values[bad][0])
        wrong = _wrong(by, f"returned {shorten(value)} for row {place}", classes)
        raise OwnNotFinite(
            wrong.message,
            fix=wrong.fix,
            output="probability" if classes else "prediction",
            row=place,
            rows=int(bad.reshape(rows, -1).any(axis=1).sum()),
            value=value,
        )
    if not classes:
        return values.reshape(rows)
    outside = (values < -_EDGE) | (values > 1.0 + _EDGE)
    if outside.any():
        raise _wrong(by, f"returned {float(values[outside][0]):g} as a probability", classes)
    values = np.clip(values, 0.0, 1.0)
    if values.ndim == 2 and values.shape[1] > 1:
        off = np.abs(values.sum(axis=1) - 1.0)
        if off.size and float(off.max()) > _SUM:
            place = int(off.argmax())
            total = float(values[place].sum())
            raise _wrong(
                by, f"returned probabilities of row {place} that sum to {total:g}", classes
            )
    if len(classes) > 2:
        return values
    return values if values.ndim == 1 else values[:, -1]


def _shapes(rows: int, classes: int) -> tuple[tuple[int, ...], ...]:
    if classes > 2:
        return ((rows, classes),)
    one: tuple[tuple[int, ...], ...] = ((rows,), (rows, 1))
    return (*one, (rows, 2)) if classes else one


def _wrong(by: str, said: str, classes: tuple[Any, ...]) -> OwnCodeError:
    if not classes:
        fix = "return one finite number for each row: an array of shape (n,)"
    elif len(classes) == 2:
        fix = (
            f"return the probability of {shorten(classes[1])} for each row, shape (n,), or of both "
            "classes, shape (n, 2); scikit-learn calls it predict_proba"
        )
    else:
        fix = (
            f"return probabilities in the order of train.classes, shape (n, {len(classes)}); "
            "scikit-learn calls it predict_proba"
        )
    return OwnCodeError(f"{by}: predict {said}", fix=fix)
