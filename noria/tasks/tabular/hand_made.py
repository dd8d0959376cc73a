"""Packages of linear models that need no training: for tests, benchmarks and rules of thumb."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from noria.errors import InvalidInput
from noria.tasks.package import Feature, Input, Manifest, Output, write_package
from noria.tasks.tabular.scorers.linear import of_coefficients

Family = Literal["tabular-classification", "tabular-regression"]


def package_linear(
    package: Path,
    model_name: str,
    feature_names: Sequence[str],
    coef: ArrayLike,
    intercept: ArrayLike,
    family: Family = "tabular-classification",
) -> Manifest:
    """Write the package of a linear model of numeric features.

    Args:
        package: A new or empty directory.
        model_name: The model's name.
        feature_names: d names, in the order of ``coef``.
        coef: (d,) for a regression or two classes, (d, k) for k classes.
        intercept: A number, or (k,).
        family: Log-odds of class 1 (logits of k classes), or the value itself.

    Raises:
        InvalidInput: The shapes do not fit.
    """
    weights = np.asarray(coef, dtype=np.float64)
    weights = weights[:, None] if weights.ndim == 1 else weights
    offsets = np.atleast_1d(np.asarray(intercept, dtype=np.float64))
    if weights.shape != (len(feature_names), len(offsets)):
        raise InvalidInput(
            f"coef {weights.shape} does not fit {len(feature_names)} features and "
            f"{len(offsets)} intercepts",
            fix="give (d,) and a number, or (d, k) and (k,)",
        )
    outputs = len(offsets)
    classes = () if family == "tabular-regression" else tuple(range(max(outputs, 2)))
    manifest = Manifest(
        model=model_name,
        family=family,
        algorithm="linear",
        inputs=tuple(Input(name, "FP64", "numeric") for name in feature_names),
        outputs=outputs_of(classes),
        features=tuple(Feature(name, "numeric") for name in feature_names),
        classes=classes,
    )
    return write_package(package, manifest, of_coefficients(weights, offsets).files())


def outputs_of(classes: Sequence[str | int | bool]) -> tuple[Output, ...]:
    """Return what a tabular model answers with; the label's datatype is that of its classes."""
    if not classes:
        return (Output("prediction", "FP64"),)
    first = classes[0]
    datatype = "BOOL" if isinstance(first, bool) else "INT64" if isinstance(first, int) else "BYTES"
    shape = () if len(classes) == 2 else (len(classes),)
    return (Output("probability", "FP64", shape), Output("label", datatype))
