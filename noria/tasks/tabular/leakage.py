"""Signs that training rows know what a request can't know."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import LeakageError, shorten
from noria.measures.measuring import value_of
from noria.spec import Data
from noria.tasks.package import Feature
from noria.tasks.sources.typed import read_as
from noria.tasks.tabular.schema import Target, numbers

Array = NDArray[np.float64]

# One column alone that ranks (or explains the ranks of) unseen rows this well is the answer.
DETERMINES: Final = 0.998
# Enough rows in a bin for both halves to know it, and bins narrow enough to find a threshold.
_ROWS_PER_BIN: Final = 20
_MAX_BINS: Final = 500
# With fewer rows, a good feature looks perfect by chance.
_MIN_ROWS: Final = 200


def refuse_answers(features: tuple[Feature, ...], frame: pd.DataFrame, target: Target) -> None:
    """Refuse a feature that alone almost determines the target.

    Each feature is cut into bins; what the bins of one half of the rows say is
    tried on the other half: AUC (the mean over classes) or the R2 of ranks. A
    missing value is a bin, too: what is filled in only afterwards leaks by its
    absence.

    Raises:
        LeakageError: It names the feature and its score.
    """
    for feature in features:
        score = alone(feature, frame, target)
        if score >= DETERMINES:
            raise LeakageError(
                f"spec.data.features: {feature.name} alone predicts the target "
                f"({measure_of(target)} {score:.4f} on rows it was not fitted on)",
                fix="is it known only after the event? then remove it from the features; if it "
                "is known before, the target needs no model",
            )


def alone(feature: Feature, frame: pd.DataFrame, target: Target) -> float:
    """Return how well a feature alone predicts the target; 0 where that can't be told."""
    # A vector is no one number: that a model of all its numbers is good is no sign of a leak.
    known = feature.origin != "time" and feature.kind != "vector" and feature.name in frame
    if len(frame) < _MIN_ROWS or not known:
        return 0.0
    truth = target.values if target.classes else _ranks(target.values)
    return _score(_bins(feature, frame[feature.name]), truth, len(target.classes))


def measure_of(target: Target) -> str:
    """Return what ``alone`` is called."""
    return "AUC" if target.classes else "R2 of ranks"


def refuse_shared_entities(data: Data, train: pd.DataFrame, test: pd.DataFrame) -> None:
    """Refuse a split that has the same entity (or group) on both sides.

    Whoever comes back later is no leak in a temporal split: the rows to come have them too.

    Raises:
        LeakageError: It names the columns and an entity.
    """
    group = () if data.split.group_key is None else (data.split.group_key,)
    entity = () if data.split.kind == "temporal" else data.entity_key
    for path, keys in (("spec.data.entityKey", entity), ("spec.data.split", group)):
        if not keys:
            continue
        left = pd.MultiIndex.from_frame(train[list(keys)])
        right = pd.MultiIndex.from_frame(test[list(keys)])
        shared = right[right.isin(left)]
        if len(shared):
            raise LeakageError(
                f"{path}: {len(shared.unique())} of {len(right.unique())} held-out values of "
                f"{', '.join(keys)} are among the training rows too, such as "
                f"{shorten(list(map(str, shared[0])))}",
                fix="remove repeated rows, add the column that tells them apart to entityKey, or "
                "use split.kind group",
            )


def _score(bins: NDArray[np.int64], truth: Array, classes: int) -> float:
    size = int(bins.max()) + 1
    if size < 2:
        return 0.0
    learn, tried = slice(0, None, 2), slice(1, None, 2)
    count = np.bincount(bins[learn], minlength=size)

    def means(values: Array) -> Array:
        total = np.bincount(bins[learn], weights=values[learn], minlength=size)
        # A bin that the first half does not know tells nothing.
        return np.where(count > 0, total / np.maximum(count, 1), values[learn].mean())[bins[tried]]

    if not classes:
        return value_of("r2", truth[tried], means(truth))
    scores = []
    for code in range(1 if classes == 2 else 0, classes):
        hit = (truth == code).astype(np.float64)
        scores.append(value_of("auc", hit[tried], means(hit)))
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0


def _bins(feature: Feature, column: pd.Series) -> NDArray[np.int64]:
    """Return a bin per row, from 0; missing values are the last."""
    if feature.kind in ("categorical", "text"):
        codes = pd.factorize(column)[0].astype(np.int64)
    else:
        values = _moments(column) if feature.kind == "timestamp" else numbers(column)
        known = np.isfinite(values)
        if not known.any():
            return np.zeros(len(column), dtype=np.int64)
        count = min(_MAX_BINS, max(2, values.size // _ROWS_PER_BIN))
        edges = np.unique(np.quantile(values[known], np.linspace(0.0, 1.0, count + 1)[1:-1]))
        codes = np.where(known, np.searchsorted(edges, values, side="right"), -1)
    return np.asarray(np.where(codes < 0, codes.max() + 1, codes))


def _moments(column: pd.Series) -> Array:
    moments = read_as(column, "time")
    return np.where(np.isnat(moments), np.nan, moments.astype(np.int64).astype(np.float64))


def _ranks(values: Array) -> Array:
    _, inverse = np.unique(values, return_inverse=True)
    return inverse.astype(np.float64)
