"""What one prediction costs, as far as it can be told before there is a model.

Measured seconds would choose other members on another day; these are of one core of a server
of 2026, and only their ratios count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from noria.tasks.tabular.hyperparameters import DEFAULT_ROUNDS
from noria.tasks.tabular.members import Recipe
from noria.tasks.tabular.plans import Plan

REQUEST: Final = 25.0
"""Microseconds of a row whatever the model: reading it, the link, the answer."""

_CALL: Final = {"linear": 3.0, "lightgbm": 2.0, "hist-gradient-boosting": 75.0, "xgboost": 45.0}
_TREE: Final = {"hist-gradient-boosting": 0.15, "xgboost": 0.2}
_PLAN: Final = 15.0
_COLUMN: Final = 0.5
_LEAF: Final = 0.0062
_POWER: Final = 0.6
_LEAVES: Final = 31


def of(members: Sequence[Recipe], outputs: int) -> float:
    """Return about how many microseconds a row takes."""
    return REQUEST + sum(_of(member, outputs) for member in members)


def of_plan(plan: Plan) -> float:
    """Return about how many microseconds the computed columns of a row take."""
    return _PLAN + _COLUMN * len(plan.made) if plan else 0.0


def _of(member: Recipe, outputs: int) -> float:
    call = _CALL.get(member.algorithm, 0.0)
    if member.algorithm == "linear":
        return call
    leaves = int(member.parameters.get("num_leaves", _LEAVES))
    tree = _TREE.get(member.algorithm, float(_LEAF * leaves**_POWER))
    return call + tree * outputs * int(member.parameters.get("n_estimators", DEFAULT_ROUNDS))
