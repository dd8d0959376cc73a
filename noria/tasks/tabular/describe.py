"""What the two tabular families say about themselves; see ``noria.spec.family.Family``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import Field

from noria.errors import Problem
from noria.spec.data import Data
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.monitoring import Detector
from noria.spec.section import ScalarValue, Section
from noria.spec.spaces import SearchRange
from noria.spec.train import Train
from noria.tasks.tabular.hyperparameters import problems_of


class TabularClassificationOptions(Section):
    """Options of ``tabular-classification``."""

    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="Weights of the classes in the loss. none keeps probabilities calibrated; "
        "balanced weighs each class by the inverse of its share.",
    )
    calibration: Literal["none", "isotonic", "sigmoid"] = Field(
        default="none",
        description="Calibration of the probabilities on held-out folds. none because "
        "the log loss that the learners minimise calibrates them already; "
        "isotonic needs a thousand rows or more, sigmoid fewer.",
    )
    positive_class: ScalarValue | None = Field(
        default=None,
        description="The label whose probability is the prediction of a binary model. "
        "null is the greater label in sorted order, so that 1, true and 'yes' win.",
    )


class TabularRegressionOptions(Section):
    """Options of ``tabular-regression``: none yet."""


def _range(low: float, high: float, *, log: bool = False) -> SearchRange:
    return SearchRange(low=low, high=high, log=log)


_LIGHTGBM: Final = Algorithm(
    name="lightgbm",
    library="lightgbm",
    space={
        "learning_rate": _range(0.02, 0.3, log=True),
        "num_leaves": _range(7, 127, log=True),
        "min_child_samples": _range(5, 100, log=True),
        "feature_fraction": _range(0.5, 1.0),
        "lambda_l2": _range(0.001, 10.0, log=True),
    },
    aliases={
        "learning_rate": frozenset({"eta", "shrinkage_rate"}),
        "num_leaves": frozenset({"max_leaves"}),
        "min_child_samples": frozenset({"min_data_in_leaf", "min_data"}),
        "feature_fraction": frozenset({"colsample_bytree"}),
        "lambda_l2": frozenset({"reg_lambda"}),
    },
)
_HIST: Final = Algorithm(
    name="hist-gradient-boosting",
    library="sklearn.ensemble",
    space={
        "learning_rate": _range(0.02, 0.3, log=True),
        "max_leaf_nodes": _range(7, 127, log=True),
        "min_samples_leaf": _range(5, 100, log=True),
        "l2_regularization": _range(0.001, 10.0, log=True),
    },
)
_XGBOOST: Final = Algorithm(
    name="xgboost",
    library="xgboost",
    space={
        "learning_rate": _range(0.02, 0.3, log=True),
        "max_depth": _range(3, 10),
        "min_child_weight": _range(1, 20, log=True),
        "subsample": _range(0.5, 1.0),
        "reg_lambda": _range(0.01, 10.0, log=True),
    },
    aliases={
        "learning_rate": frozenset({"eta"}),
        "reg_lambda": frozenset({"lambda"}),
    },
)


def _algorithms(strength: str) -> tuple[Algorithm, ...]:
    """Return the algorithms; ``strength`` is what the linear model's penalty is called."""
    linear = Algorithm(name="linear", space={strength: _range(0.001, 100.0, log=True)})
    return (_LIGHTGBM, linear, _HIST, _XGBOOST)


def columns_and_a_target(task: Any, data: Data) -> Iterator[Problem]:
    """A tabular family reads columns, and learns from a target."""
    if not data.features and not data.time_features:
        yield Problem(
            "spec.data.features",
            f"is empty, and {task.family} reads columns",
            "list the columns, such as {name: distance, type: numeric}",
        )
    if data.target is None:
        yield Problem(
            "spec.data.target",
            f"is missing, and {task.family} learns from a target",
            "name the column to predict",
        )


def columns_can_be_read(task: Any, data: Data) -> Iterator[Problem]:
    """A tabular family reads no text."""
    for place, feature in enumerate(data.features):
        if feature.type == "text":
            yield Problem(
                f"spec.data.features[{place}].type",
                f"{feature.name} is text, which {task.family} does not read",
                "use categorical for a few different values, or remove it",
            )


def hyperparameters_exist(task: Any, train: Train) -> Iterator[Problem]:
    """A tabular algorithm has the hyperparameters that are set or searched."""
    path = "spec.train"
    given = train.hyperparameters
    yield from problems_of(train.algorithm, task.family, given, f"{path}.hyperparameters")
    searched = {name: "" for name in train.search.space if name != "objective"}
    yield from problems_of(train.algorithm, task.family, searched, f"{path}.search.space")


_SHARED: Final[Mapping[str, Any]] = {
    "sources": ("feast", "parquet", "csv"),
    "stack": ("linear", "lightgbm", "hist-gradient-boosting"),
    "detectors": (
        Detector(name="features", kind="tabular", watch="features"),
        Detector(name="prediction", kind="ks", watch="prediction"),
    ),
    "rules": (columns_and_a_target, columns_can_be_read, hyperparameters_exist),
    "needs": Needs(
        libraries=(
            "pandas",
            "pyarrow.parquet",
            "scipy.optimize",
            "matplotlib.backends.backend_agg",
        ),
        install="noria[training,xgboost]",
    ),
    "learner": "noria.tasks.tabular.family:TABULAR",
}

CLASSIFICATION: Final = Family(
    name="tabular-classification",
    about="A class from a row of columns.",
    options=TabularClassificationOptions,
    algorithms=_algorithms("C"),
    metrics=(
        "auc",
        "average-precision",
        "log-loss",
        "brier",
        "calibration-gap",
        "accuracy",
        "f1",
    ),
    target="class",
    template="noria.tasks.tabular.template:CLASSIFICATION",
    **_SHARED,
)
REGRESSION: Final = Family(
    name="tabular-regression",
    about="A number from a row of columns.",
    options=TabularRegressionOptions,
    algorithms=_algorithms("alpha"),
    metrics=("r2", "rmse", "mae"),
    target="number",
    template="noria.tasks.tabular.template:REGRESSION",
    **_SHARED,
)
