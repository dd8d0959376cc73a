"""Data-quality rules: missing values, categories never seen, numbers out of range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from monitoring.config import QualityRules
from monitoring.table import Table, missing_vectors

Rule: TypeAlias = Literal["missing", "unseen", "out-of-range"]
_RULES: Final[tuple[Rule, ...]] = ("missing", "unseen", "out-of-range")


class Breach(msgspec.Struct, frozen=True):
    """One rule that one feature breaks: ``share`` (0 to 1) of the rows is above ``limit``.

    ``training`` is the share there, which the limit allows for.
    """

    feature: str
    rule: Rule
    share: float
    limit: float
    training: float = 0.0


class QualityResult(msgspec.Struct, frozen=True):
    """The shares (0 to 1) of one window, worst feature of each rule, and what is broken.

    ``missing`` is what is above the feature's own share in training. ``unseen_values`` is how
    many values of all features training never had.
    """

    missing: float
    unseen: float
    out_of_range: float
    breaches: tuple[Breach, ...]
    unseen_values: int = 0


def check_quality(
    window: Table,
    ranges: Mapping[str, tuple[float, float]],
    missing: Mapping[str, float],
    rules: QualityRules,
) -> QualityResult:
    """Measure one window against the rules.

    Args:
        window: rows, encoded against the reference.
        ranges: numeric feature to (min, max) in the reference; NaN is no limit.
        missing: feature to the share of training rows that lack it.
        rules: limits.
    """
    found: list[tuple[str, dict[str, int]]] = []
    for column in window.schema:
        values = window.columns[column.name]
        if column.kind == "vector":
            counts = {"missing": int(missing_vectors(values).sum())}
        elif column.kind == "numeric":
            low, high = ranges.get(column.name, (float("nan"), float("nan")))
            # A comparison with NaN is false: neither missing values nor absent limits count.
            outside = int(((values < low) | (values > high)).sum())
            counts = {"missing": int(np.isnan(values).sum()), "out-of-range": outside}
        else:
            unseen = int((values == column.unseen).sum())
            counts = {"missing": int((values < 0).sum()), "unseen": unseen}
        found.append((column.name, counts))
    return judge_shares(found, max(window.rows, 1), missing, rules)


def judge_shares(
    found: Sequence[tuple[str, Mapping[str, int]]],
    rows: int,
    missing: Mapping[str, float],
    rules: QualityRules,
) -> QualityResult:
    """Measure counts of bad values against the rules.

    What training lacked too may be missing: the limit is that share and ``max_missing``, but no
    nearer to all rows than half of what training had.

    Args:
        found: (feature, how many values break which rule).
        rows: rows in the window, at least 1.
        missing: feature to the share of training rows that lack it, 0 to 1.
        rules: limits.
    """
    limits: Mapping[str, float] = {
        "missing": rules.max_missing,
        "unseen": rules.max_unseen,
        "out-of-range": rules.max_out_of_range,
    }
    worst = dict.fromkeys(limits, 0.0)
    breaches: list[Breach] = []
    unseen = 0
    for feature, counts in found:
        unseen += counts.get("unseen", 0)
        for rule in _RULES:
            share = counts.get(rule, 0) / rows
            training = missing.get(feature, 0.0) if rule == "missing" else 0.0
            room = min(limits[rule], (1.0 - training) / 2.0)
            # In parts of what is allowed, so that one limit holds for every feature.
            above = (share - training) * (limits[rule] / room if room else 1.0)
            worst[rule] = max(worst[rule], above)
            if share > training + room:
                breaches.append(Breach(feature, rule, share, training + room, training))
    return QualityResult(
        worst["missing"], worst["unseen"], worst["out-of-range"], tuple(breaches), unseen
    )


def told(breach: Breach) -> str:
    """Return a breach as a sentence's start."""
    training = f", {breach.training:.1%} in training" if breach.training else ""
    return (
        f"{breach.share:.1%} of {breach.feature} is {breach.rule}{training}, "
        f"above {breach.limit:.1%}"
    )
