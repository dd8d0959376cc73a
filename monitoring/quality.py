"""Data-quality rules: missing values, categories never seen, numbers out of range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from monitoring.config import QualityRules
from monitoring.table import Table


class Breach(msgspec.Struct, frozen=True):
    """One rule that one feature breaks: ``share`` (0 to 1) of the rows is above ``limit``."""

    feature: str
    rule: Literal["missing", "unseen", "out-of-range"]
    share: float
    limit: float


class QualityResult(msgspec.Struct, frozen=True):
    """The shares (0 to 1) of one window, worst feature of each rule, and what is broken.

    ``unseen_values`` is how many values of all features training never had.
    """

    missing: float
    unseen: float
    out_of_range: float
    breaches: tuple[Breach, ...]
    unseen_values: int = 0


def check_quality(
    window: Table, ranges: Mapping[str, tuple[float, float]], rules: QualityRules
) -> QualityResult:
    """Measure one window against the rules.

    Args:
        window: rows, encoded against the reference.
        ranges: numeric feature to (min, max) in the reference; NaN is no limit.
        rules: limits.
    """
    worst = {"missing": 0.0, "unseen": 0.0, "out-of-range": 0.0}
    breaches: list[Breach] = []

    def note(
        feature: str, rule: Literal["missing", "unseen", "out-of-range"], share: float, limit: float
    ) -> None:
        worst[rule] = max(worst[rule], share)
        if share > limit:
            breaches.append(Breach(feature, rule, share, limit))

    rows = max(window.rows, 1)
    unseen_values = 0
    for column in window.schema:
        values = window.columns[column.name]
        if column.kind == "numeric":
            low, high = ranges.get(column.name, (float("nan"), float("nan")))
            note(column.name, "missing", float(np.isnan(values).sum()) / rows, rules.max_missing)
            # A comparison with NaN is false: neither missing values nor absent limits count.
            outside = float(((values < low) | (values > high)).sum()) / rows
            note(column.name, "out-of-range", outside, rules.max_out_of_range)
        else:
            note(column.name, "missing", float((values < 0).sum()) / rows, rules.max_missing)
            unseen = int((values == column.unseen).sum())
            unseen_values += unseen
            note(column.name, "unseen", float(unseen) / rows, rules.max_unseen)
    return QualityResult(
        worst["missing"], worst["unseen"], worst["out-of-range"], tuple(breaches), unseen_values
    )
