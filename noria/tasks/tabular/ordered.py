"""Classes with an order: learnt step by step where held-out rows gain by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from noria.spec import ModelSpec
from noria.tasks.tabular.describe import order_of, ranked_probability
from noria.tasks.tabular.fit import Design, fit
from noria.tasks.tabular.folds import RowFacts
from noria.tasks.tabular.hyperparameters import CUMULATIVE
from noria.tasks.tabular.members import WEIGHTED, fit_members, members_of
from noria.tasks.tabular.scorers.cumulative import CumulativeScorer

if TYPE_CHECKING:
    from noria.tasks.tabular.scorers import Scorer


def with_order(
    spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts
) -> dict[str, Any]:
    """Return hyperparameters that say so where steps are better than classes without an order.

    Better is a lower ranked probability score of rows that are held out of the fits.
    """
    from noria.tasks.tabular.deciding import held_out

    whole = spec.train.ensemble.kind != "stacking" and spec.train.compute.nodes == 1
    if not order_of(spec.task.options) or not whole:
        return dict(params)
    found = {}
    for cumulative in (False, True):
        tried = {**params, CUMULATIVE: True} if cumulative else dict(params)
        said, codes = held_out(spec, tried, design, facts)
        found[cumulative] = float(np.mean(ranked_probability(codes, said)))
    return {**params, CUMULATIVE: True} if found[True] < found[False] else dict(params)


def fit_steps(algorithm: str, params: Mapping[str, Any], design: Design) -> CumulativeScorer:
    """Fit a model of each step of the order: whether a row's class is above it."""
    own = {name: value for name, value in params.items() if name != CUMULATIVE}
    members = members_of(own)
    steps: list[Scorer] = []
    for place in range(design.classes - 1):
        above = (design.target > place).astype(np.float64)
        step = replace(design, target=above, classes=2)
        steps.append(fit_members(members, step) if members else fit(algorithm, own, step))
    return CumulativeScorer(WEIGHTED if members else algorithm, tuple(steps))
