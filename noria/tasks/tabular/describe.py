"""What the two tabular families say about themselves; see ``noria.spec.family.Family``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import Field

from noria.errors import Problem
from noria.spec.data import Data
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.monitoring import Detector
from noria.spec.section import Items, ScalarValue, Section
from noria.spec.spaces import SearchRange
from noria.spec.train import Train
from noria.tasks.rules import columns_are_named
from noria.tasks.tabular.hyperparameters import problems_of

MAX_TEXT_WIDTH: Final = 256
"""Most numbers that a text becomes."""


class TabularOptions(Section):
    """Options of both families."""

    derive: Literal["auto", "none"] = Field(
        default="none",
        description="Columns computed from others: ratios, differences and products of numbers, "
        "statistics of categories, principal components. auto tries them with train.effort good, "
        "and keeps those that held-out rows gain by; none, the default, tries none: on tables "
        "that it was not chosen on it brought nothing.",
    )
    components: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Principal components of the numbers that are columns of their own beside "
        "them. 0: none, but where derive finds that they pay.",
        examples=[5],
    )

    resample: Literal["none", "smote"] = Field(
        default="none",
        description="Classes only. smote makes rows of rarer classes, between those that there "
        "are, in what is fitted on and never in what judges; probabilities are then calibrated "
        "on rows as they were. Most tables gain nothing by it: the card has what it brought.",
    )


class TabularClassificationOptions(TabularOptions):
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


class TabularRegressionOptions(TabularOptions):
    """Options of ``tabular-regression``."""

    levels: Items[int] = Field(
        default=(),
        max_length=3,
        description="Of each prediction the intervals that hold the value so often, in percent. "
        "Each costs two more fits.",
        examples=[[80]],
    )


def _range(low: float, high: float, *, log: bool = False) -> SearchRange:
    return SearchRange(low=low, high=high, log=log)


_LIGHTGBM: Final = Algorithm(
    name="lightgbm",
    library="lightgbm",
    distributes=True,
    launcher=("python",),
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
    distributes=True,
    launcher=("python",),
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
    yield from columns_are_named(task, data)
    if data.target is None:
        yield Problem(
            "spec.data.target",
            f"is missing, and {task.family} learns from a target",
            "name the column to predict",
        )


def columns_can_be_read(task: Any, data: Data) -> Iterator[Problem]:
    """A family of rows whose fit is its own is given numbers, categories and vectors."""
    for place, feature in enumerate(data.features):
        if feature.type in ("text", "timestamp"):
            yield Problem(
                f"spec.data.features[{place}].type",
                f"{feature.name} is {feature.type}, which {task.family} does not read",
                "make a number or a vector of it in the data module, or remove it",
            )


def texts_are_bounded(data: Data) -> Iterator[Problem]:
    """A text becomes a bounded number of numbers."""
    for place, feature in enumerate(data.features):
        if feature.type == "text" and (feature.width or 0) > MAX_TEXT_WIDTH:
            yield Problem(
                f"spec.data.features[{place}].width",
                f"{feature.name} would become {feature.width} numbers, and a text is at most "
                f"{MAX_TEXT_WIDTH}",
                f"write {MAX_TEXT_WIDTH}, or remove it: 32",
            )


def levels_are_percentages(task: Any) -> Iterator[Problem]:
    """An interval holds between 1 and 99 percent of the values."""
    path, levels = "spec.task.options.levels", getattr(task.options, "levels", ())
    for place, level in enumerate(levels):
        if not 1 <= level <= 99:
            said = f"{level} is not a percentage from 1 to 99"
            yield Problem(f"{path}[{place}]", said, "write 80")
        elif level in levels[:place]:
            yield Problem(f"{path}[{place}]", f"{level} is there twice", "keep one of them")


def resampling_is_of_classes(task: Any) -> Iterator[Problem]:
    """Rows are made of rarer classes; and classes are evened out once."""
    path, options = "spec.task.options", task.options
    if getattr(options, "resample", "none") == "none":
        return
    if not hasattr(options, "class_weights"):
        said = f"smote makes rows of rarer classes, and {task.family} predicts a number"
        fix = "remove it; data.weight says which rows count more"
        yield Problem(f"{path}.resample", said, fix)
    elif options.class_weights == "balanced":
        said = "smote and classWeights: balanced both even the classes out"
        yield Problem(f"{path}.resample", said, "keep one of them")


def monotone_is_kept(data: Data, train: Train) -> Iterator[Problem]:
    """What combines several models may turn their directions round."""
    if train.ensemble.kind != "stacking":
        return
    for place, feature in enumerate(data.features):
        if feature.monotone is not None:
            yield Problem(
                f"spec.data.features[{place}].monotone",
                f"{train.ensemble.kind} weighs its members, and a weight may be under 0",
                "remove it, or write spec.train.ensemble.kind: none",
            )


def hyperparameters_exist(task: Any, train: Train) -> Iterator[Problem]:
    """A tabular algorithm has the hyperparameters that are set or searched."""
    path = "spec.train"
    given = train.hyperparameters
    yield from problems_of(train.algorithm, task.family, given, f"{path}.hyperparameters")
    searched = {name: "" for name in train.search.space if name != "objective"}
    yield from problems_of(train.algorithm, task.family, searched, f"{path}.search.space")


def a_stack_trains_on_one_node(train: Train) -> Iterator[Problem]:
    """The members of a tabular stack are fitted on one node."""
    if train.compute.nodes > 1 and train.ensemble.kind != "none":
        yield Problem(
            "spec.train.compute.nodes",
            f"{train.compute.nodes} nodes, and several algorithms train on one",
            "write 1, or remove spec.train.ensemble",
        )


_SHARED: Final[Mapping[str, Any]] = {
    "sources": ("feast", "parquet", "csv"),
    "stack": ("linear", "lightgbm", "hist-gradient-boosting"),
    "detectors": (
        Detector(name="features", kind="tabular", watch="features"),
        Detector(name="prediction", kind="ks", watch="prediction"),
    ),
    "rules": (
        columns_and_a_target,
        texts_are_bounded,
        levels_are_percentages,
        resampling_is_of_classes,
        monotone_is_kept,
        hyperparameters_exist,
        a_stack_trains_on_one_node,
    ),
    "heeds": frozenset({"weight", "monotone"}),
    "needs": Needs(
        libraries=(
            "pandas",
            "pyarrow.parquet",
            "scipy.optimize",
            "matplotlib.figure",
            "matplotlib.backends.backend_agg",
        ),
        install="noria[training,xgboost]",
    ),
    "learner": "noria.tasks.tabular.family:TABULAR",
    "draft": "noria.tasks.tabular.draft:draft",
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
