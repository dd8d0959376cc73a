"""Classes with an order: learnt step by step where held-out rows gain by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.spec import ModelSpec
from noria.tasks.tabular.describe import order_of, ranked_probability
from noria.tasks.tabular.fit import Design, fit
from noria.tasks.tabular.folds import RowFacts
from noria.tasks.tabular.hyperparameters import CUMULATIVE
from noria.tasks.tabular.members import WEIGHTED, fit_members, log_losses, members_of
from noria.tasks.tabular.plans import with_untried
from noria.tasks.tabular.scorers.cumulative import CumulativeScorer

if TYPE_CHECKING:
    from noria.tasks.tabular.choosing import Budget
    from noria.tasks.tabular.scorers import Scorer

Array = NDArray[np.float64]

MIXED: Final = (0.001, 0.003, 0.01, 0.03, 0.1)
"""How much of the shares of the classes is tried."""


def with_order(
    spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts, budget: Budget
) -> dict[str, Any]:
    """Return hyperparameters that say so where steps are better than classes without an order.

    Better is a lower ranked probability score of rows that are held out of the fits. How much the
    shares of the classes are mixed in is what gives these rows the lowest log loss. Where the
    budget does not hold both, they are not tried, and the hyperparameters say so.
    """
    from noria.tasks.tabular.deciding import held_out
    from noria.tasks.tabular.tryout import held_out_folds

    whole = spec.train.ensemble.kind != "stacking" and spec.train.compute.nodes == 1
    if not order_of(spec.task.options) or not whole:
        return dict(params)
    if not held_out_folds(spec, design, facts):  # no fold has every class to fit on
        return dict(params)
    apart = held_out(spec, params, design, facts, budget)
    by_step = {**params, CUMULATIVE: MIXED[0]}
    stepped = None if apart is None else held_out(spec, by_step, design, facts, budget)
    if apart is None or stepped is None:
        return with_untried(
            params, "steps of the order are not tried, its classes are learnt apart"
        )
    (plain, codes), (steps, _) = apart, stepped
    truth = codes.astype(np.float64)
    mixed = {one: (1.0 - one) * steps + one * _shares(truth, design.classes) for one in MIXED}
    best = min(MIXED, key=lambda one: float(log_losses(truth, mixed[one]).mean()))
    scores = (ranked_probability(truth, said).mean() for said in (mixed[best], plain))
    ours, theirs = map(float, scores)
    return {**params, CUMULATIVE: best} if ours < theirs else dict(params)


def _shares(codes: Array, classes: int) -> Array:
    return np.bincount(codes.astype(np.int64), minlength=classes) / codes.size


def fit_steps(algorithm: str, params: Mapping[str, Any], design: Design) -> CumulativeScorer:
    """Fit a model of each step of the order: whether a row's class is above it."""
    own = {name: value for name, value in params.items() if name != CUMULATIVE}
    shares = tuple(_shares(design.target, design.classes).tolist())
    members = members_of(own)
    steps: list[Scorer] = []
    for place in range(design.classes - 1):
        above = (design.target > place).astype(np.float64)
        step = replace(design, target=above, classes=2)
        steps.append(fit_members(members, step) if members else fit(algorithm, own, step))
    name = WEIGHTED if members else algorithm
    return CumulativeScorer(name, shares, float(params[CUMULATIVE]), tuple(steps))
