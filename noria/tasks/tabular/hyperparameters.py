"""Which hyperparameters an algorithm takes; no library is imported to know it.

A name that the library would ignore is a typing error that costs a search, so
unknown names are refused. What decides the task, the seed or the machine is
set by other fields of the resource and is refused here, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from noria.errors import InvalidInput, Problem
from noria.tasks.tabular.plans import without_plan

ALGORITHMS: Final = ("linear", "hist-gradient-boosting", "lightgbm", "xgboost")
ROUNDS: Final = ("n_estimators", "num_iterations", "num_boost_round", "num_trees")
"""Names of the rounds of boosting."""
DEFAULT_ROUNDS: Final = 100
CUMULATIVE: Final = "cumulative"
"""Under this name hyperparameters say that ordered classes are learnt step by step, and how much of
the classes' shares is mixed in; also the name of that algorithm."""

MEMBERS: Final = "members"
"""Under which the members of an average are found among hyperparameters."""

BOOSTED: Final = frozenset(ALGORITHMS) - {"linear"}

CONSTANTS: Final[Mapping[str, Mapping[str, float | int]]] = {
    "lightgbm": {
        "feature_fraction": 0.8,
        "bagging_fraction": 0.9,
        "bagging_freq": 1,
        "min_child_samples": 10,
        "cat_smooth": 20,
    },
    "hist-gradient-boosting": {"max_features": 0.8, "min_samples_leaf": 10},
    "xgboost": {"subsample": 0.9, "colsample_bytree": 0.8},
}
"""What is set beside a learning rate where rounds are found by early stopping."""

_SYNONYMS: Final = (
    frozenset({"learning_rate", "eta", "shrinkage_rate"}),
    frozenset({"feature_fraction", "colsample_bytree"}),
    frozenset({"bagging_fraction", "subsample"}),
    frozenset({"bagging_freq", "subsample_freq"}),
    frozenset({"min_child_samples", "min_data_in_leaf", "min_data"}),
)
_NO_STOPPING: Final = frozenset(
    {*ROUNDS, "max_iter", "boosting", "boosting_type", "data_sample_strategy"}
)

_LINEAR: Final = {"C", "alpha", "max_iter", "tol"}
_HIST: Final = {
    "n_estimators", "max_iter", "learning_rate", "max_leaf_nodes", "max_depth",
    "min_samples_leaf", "l2_regularization", "max_features", "max_bins",
}  # fmt: skip
_LIGHTGBM: Final = {
    "n_estimators", "num_iterations", "num_boost_round", "num_trees", "learning_rate", "eta",
    "shrinkage_rate", "num_leaves", "max_leaves", "max_depth", "min_child_samples",
    "min_data_in_leaf", "min_data", "min_child_weight", "min_sum_hessian_in_leaf",
    "subsample", "bagging_fraction", "subsample_freq", "bagging_freq", "colsample_bytree",
    "feature_fraction", "feature_fraction_bynode", "colsample_bynode", "extra_trees",
    "reg_alpha", "lambda_l1", "reg_lambda", "lambda_l2", "linear_lambda", "min_split_gain",
    "min_gain_to_split", "max_delta_step", "max_bin", "min_data_in_bin", "boosting",
    "boosting_type", "drop_rate", "max_drop", "skip_drop", "top_rate", "other_rate",
    "data_sample_strategy", "cat_l2", "cat_smooth", "max_cat_to_onehot", "max_cat_threshold",
    "min_data_per_group", "path_smooth", "is_unbalance", "scale_pos_weight", "objective",
    "alpha", "linear_tree", "enable_bundle", "bin_construct_sample_cnt",
    "subsample_for_bin",
}  # fmt: skip
_XGBOOST: Final = {
    "n_estimators", "num_boost_round", "learning_rate", "eta", "gamma", "min_split_loss",
    "max_depth", "min_child_weight", "max_delta_step", "subsample", "sampling_method",
    "colsample_bytree", "colsample_bylevel", "colsample_bynode", "reg_lambda", "lambda",
    "reg_alpha", "alpha", "scale_pos_weight", "grow_policy", "max_leaves", "max_bin",
    "num_parallel_tree", "max_cat_to_onehot", "max_cat_threshold", "objective",
}  # fmt: skip
_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "linear": frozenset(_LINEAR),
    "hist-gradient-boosting": frozenset(_HIST),
    "lightgbm": frozenset(_LIGHTGBM),
    "xgboost": frozenset(_XGBOOST),
}
_SET_ELSEWHERE: Final[Mapping[str, str]] = {
    "seed": "spec.train.seed",
    "random_state": "spec.train.seed",
    "n_jobs": "spec.train.compute.cpu",
    "nthread": "spec.train.compute.cpu",
    "num_threads": "spec.train.compute.cpu",
    "class_weight": "spec.task.options.classWeights",
}
# Losses whose raw score is the prediction itself, so that no link is needed to serve them.
REGRESSION_OBJECTIVES: Final[Mapping[str, frozenset[str]]] = {
    "lightgbm": frozenset(
        {"regression", "regression_l1", "mae", "mse", "huber", "fair", "quantile", "mape"}
    ),
    "xgboost": frozenset({"reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror"}),
}


def problems_of(algorithm: str, family: str, names: Mapping[str, Any], path: str) -> list[Problem]:
    """Return what is wrong with hyperparameters, by name.

    Args:
        algorithm: One of ``ALGORITHMS``.
        family: The task family.
        names: Hyperparameters (or a search space) by name.
        path: Where they are in the resource.
    """
    known = _KNOWN.get(algorithm, frozenset())
    found = []
    for name, value in names.items():
        if name in _SET_ELSEWHERE:
            found.append(
                Problem(f"{path}.{name}", "is set elsewhere", f"use {_SET_ELSEWHERE[name]}")
            )
        elif name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
            found.append(Problem(f"{path}.{name}", f"{algorithm} has no such parameter", fix))
        elif name == "objective":
            allowed = REGRESSION_OBJECTIVES.get(algorithm, frozenset())
            if family != "tabular-regression" or value not in allowed:
                found.append(
                    Problem(
                        f"{path}.objective",
                        f"{value!r} is not an objective of {family} with {algorithm}",
                        f"regressions take {', '.join(sorted(allowed))}; remove it otherwise",
                    )
                )
    return found


def refuse_unknown(algorithm: str, family: str, params: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that ``problems_of`` finds something wrong with.

    Raises:
        InvalidInput: It lists every problem.
    """
    path = "spec.train.hyperparameters"
    params = {name: value for name, value in without_plan(params).items() if name != CUMULATIVE}
    parts = [(one["algorithm"], one["parameters"]) for one in params.get(MEMBERS, ())]
    problems = [
        problem
        for name, values in parts or [(algorithm, params)]
        for problem in problems_of(name, family, values, path)
    ]
    if problems:
        raise InvalidInput("\n".join(map(str, problems)), problems=problems)


def can_stop(algorithm: str, params: Mapping[str, Any]) -> bool:
    """Say whether its rounds may be found: it is boosted, and nobody has set them or how."""
    return algorithm in BOOSTED and not _NO_STOPPING & params.keys()


def with_constants(
    algorithm: str, params: Mapping[str, Any], learning_rate: float
) -> dict[str, Any]:
    """Return hyperparameters with ``CONSTANTS`` and the rate where nobody has set them."""
    constants = {"learning_rate": learning_rate, **CONSTANTS.get(algorithm, {})}
    given = set(params)
    for names in _SYNONYMS:
        if given & names:
            given |= names
    return {**{n: v for n, v in constants.items() if n not in given}, **params}


def with_rounds(algorithm: str, params: Mapping[str, Any], times: float) -> dict[str, Any] | None:
    """Return hyperparameters with so many times the default rounds; see ``TaskFamily``."""
    if algorithm not in BOOSTED or any(name in params for name in (*ROUNDS, "max_iter", MEMBERS)):
        return None
    return {**params, "n_estimators": max(1, round(DEFAULT_ROUNDS * times))}
