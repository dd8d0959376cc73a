"""What is trained by default: one algorithm with the rounds it needs, or an average of few.

Everything is measured on held-out rows of the training rows, once, before the fits; these then
have fixed hyperparameters, so that the same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from noria.spec import ModelSpec
from noria.tasks.tabular.fit import Design
from noria.tasks.tabular.folds import RowFacts
from noria.tasks.tabular.hyperparameters import DEFAULT_ROUNDS, can_stop
from noria.tasks.tabular.members import as_params
from noria.tasks.tabular.stopping import begun, most_rounds
from noria.tasks.tabular.tryout import Tried, Tryout, is_few, tryout, weights_of

MOST_MEMBERS: Final = 3
"""Of the average that is trained by default."""

_SKEWED: Final = 1.0
"""Skewness of a positive target over which its logarithm is tried."""

VARIANTS: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    "lightgbm": ({"num_leaves": 8}, {"extra_trees": True}),
}
"""Hyperparameters by which an algorithm errs in other places."""


def chosen(
    spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts
) -> dict[str, Any]:
    """Return the hyperparameters to train with, or the members of an average.

    Args:
        spec: The model; ``ensemble.kind`` weighted asks for an average.
        params: Hyperparameters that are set.
        design: The rows to train on, not widened.
        facts: About them.
    """
    algorithm = spec.train.algorithm
    averaged = spec.train.ensemble.kind == "weighted"
    if not averaged and not can_stop(algorithm, params):
        return dict(params)
    if can_stop(algorithm, params) and most_rounds(design) <= DEFAULT_ROUNDS:
        # Of so many cells no more rounds are affordable, and they don't overfit.
        return {**begun(algorithm, params, design), "n_estimators": DEFAULT_ROUNDS}
    on = tryout(spec, design, facts)
    if on is None:
        return dict(params)
    tried = [on.member(algorithm, params)]
    if averaged:
        tried.extend(_others(spec, params, design, on, tried[0]))
    weights = weights_of(tried, on, MOST_MEMBERS)
    members = [
        msgspec.structs.replace(one.recipe, weight=weight)
        for one, weight in zip(tried, weights, strict=True)
        if weight
    ]
    return as_params(algorithm, members)


def _others(
    spec: ModelSpec, params: Mapping[str, Any], design: Design, on: Tryout, first: Tried
) -> Iterator[Tried]:
    """Try what may go with the first one, as far as the rows are few."""
    algorithm = spec.train.algorithm
    log = False
    if is_skewed(design):
        second = on.member(algorithm, params, log=True)
        yield second
        log = on.cost(second.said) < on.cost(first.said)
    if not is_few(design):
        return
    for more in VARIANTS.get(algorithm, ()):
        yield on.member(algorithm, {**params, **more}, log=log)
    for name in spec.train.ensemble.members:
        if name != algorithm:
            yield on.member(name, {}, log=log)


def is_skewed(design: Design) -> bool:
    """Say whether the target is positive and has a long upper tail."""
    if design.classes or float(design.target.min()) <= 0.0:
        return False
    centred = design.target - design.target.mean()
    spread = float((centred**2).mean()) ** 1.5
    return spread > 0.0 and float((centred**3).mean()) / spread > _SKEWED
