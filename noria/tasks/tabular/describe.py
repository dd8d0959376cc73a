"""What the two tabular families say about themselves; see ``noria.spec.family.Family``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import Field

from noria.errors import Problem
from noria.measures.catalog import OwnMetric
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


HALF: Final = 0.5
COST: Final = "cost"
_ORDERED: Final = 3


class Threshold(Section):
    """From which probability on a row of two classes is called positive."""

    for_: Literal["none", "f1", "balanced-accuracy", "cost", "recall", "precision"] = Field(
        default="none",
        alias="for",
        description="What it is chosen for, on rows held out of training. none: it is 0.5. recall "
        "is the greatest with precisionAtLeast, precision that with recallAtLeast. Where no other "
        "is shown to be better it stays 0.5.",
    )
    false_positive: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="What a row costs that is wrongly called positive (for: cost), in any unit.",
        examples=[1],
    )
    false_negative: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="What a positive row costs that is not called so (for: cost), in that unit.",
        examples=[20],
    )
    precision_at_least: float | None = Field(
        default=None, gt=0, lt=1, description="Least precision (for: recall), 0 to 1."
    )
    recall_at_least: float | None = Field(
        default=None, gt=0, lt=1, description="Least recall (for: precision), 0 to 1."
    )

    @property
    def floor(self) -> str | None:
        """The floor that is to be met, as words; None: there is none."""
        if self.for_ == "recall":
            return f"recall with a precision of {self.precision_at_least:g} or more"
        if self.for_ == "precision":
            return f"precision with a recall of {self.recall_at_least:g} or more"
        return None


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
    order: Items[ScalarValue] = Field(
        default=(),
        max_length=50,
        description="All classes from the least to the greatest, where they have an order. Scores "
        "are in this order, and an error counts by its steps. Empty: they have none.",
        examples=[["low", "medium", "high"]],
    )
    threshold: Threshold = Field(
        default_factory=Threshold,
        description="From which probability on a row of two classes is called positive. The label "
        "that is answered follows it, and so do the metrics of labels; scores stay as they are.",
        examples=[{"for": "f1"}],
    )


def order_of(options: object) -> tuple[str | int | float | bool, ...]:
    """Return the classes from the least to the greatest; empty: they have no order."""
    return tuple(getattr(options, "order", ()))


def threshold_of(options: object) -> Threshold | None:
    """Return what a threshold is to be chosen for; None: it is 0.5."""
    wanted = getattr(options, "threshold", None)
    return wanted if isinstance(wanted, Threshold) and wanted.for_ != "none" else None


def cost_of(wanted: Threshold) -> OwnMetric:
    """Return the mean cost of a row."""
    from functools import partial

    positive, negative = wanted.false_positive or 1.0, wanted.false_negative or 1.0
    return OwnMetric(
        "decision-cost",
        greater_is_better=False,
        low=0.0,
        high=max(positive, negative),
        about="mean cost of a row, by spec.task.options.threshold",
        decides=True,
        per_sample=partial(_costs, positive, negative),
    )


def _costs(positive: float, negative: float, truth: Any, called: Any) -> Any:
    """Return what each row costs, (n,): 0 where it is called what it is."""
    so, said = truth == 1, called >= HALF
    return (so & ~said) * negative + (~so & said) * positive


def narrowed(options: TabularClassificationOptions) -> Mapping[str, Any]:
    """Return the family with the cost of its decisions, where the options have one."""
    if options.order:
        own = _of_an_order(len(options.order))
        names = (own[0].name, "quadratic-kappa", own[1].name, *_CLASSIFICATION)
        return {"own_metrics": own, "metrics": names}
    if options.threshold.for_ != COST:
        return {}
    cost = cost_of(options.threshold)
    return {"own_metrics": (cost,), "metrics": (*_CLASSIFICATION, cost.name)}


def _of_an_order(classes: int) -> tuple[OwnMetric, OwnMetric]:
    return (
        OwnMetric(
            "ranked-probability",
            greater_is_better=False,
            low=0.0,
            high=1.0,
            about="mean squared error of the probabilities of being above each step of the order",
            per_sample=ranked_probability,
        ),
        OwnMetric(
            "class-distance",
            greater_is_better=False,
            low=0.0,
            high=float(max(classes - 1, 1)),
            about="mean number of steps between the class that is answered and the true one",
            decides=True,
            per_sample=_distance,
        ),
    )


def ranked_probability(truth: Any, said: Any) -> Any:
    """Return the ranked probability score of n rows, (n,), 0 to 1; less is better.

    Epstein, Journal of Applied Meteorology 8 (1969), as the mean over the steps.

    Args:
        truth: (n,) places of the classes in their order.
        said: (n, k) probabilities in that order.
    """
    steps = said.shape[1] - 1
    under = said.cumsum(axis=1)
    squares = sum((under[:, step] - (truth <= step)) ** 2 for step in range(steps))
    return (squares / steps).clip(0.0, 1.0)


def _distance(truth: Any, said: Any) -> Any:
    """Return how many steps the likeliest class is off, (n,)."""
    return abs(said.argmax(axis=1) - truth)


_CLASSIFICATION: Final = (
    "auc",
    "average-precision",
    "log-loss",
    "brier",
    "calibration-gap",
    "accuracy",
    "f1",
    "class-precision",
    "class-recall",
    "balanced-accuracy",
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


def a_threshold_has_its_numbers(task: Any) -> Iterator[Problem]:
    """What a threshold is chosen for has the numbers that it needs, and no others."""
    wanted, path = getattr(task.options, "threshold", None), "spec.task.options.threshold"
    if not isinstance(wanted, Threshold):
        return
    needed = {
        COST: ("falsePositive", "falseNegative"),
        "recall": ("precisionAtLeast",),
        "precision": ("recallAtLeast",),
    }.get(wanted.for_, ())
    given = wanted.model_dump(by_alias=True, exclude={"for_"}, exclude_none=True)
    for name in needed:
        if name not in given:
            yield Problem(
                f"{path}.{name}", f"is missing, and {wanted.for_} needs it", f"write {name}: 0.8"
            )
    for name in given:
        if name not in needed:
            yield Problem(f"{path}.{name}", f"{wanted.for_} does not read it", "remove it")


def an_order_is_of_several_classes(task: Any) -> Iterator[Problem]:
    """An order names each class once, and two classes have none that matters."""
    path, order = "spec.task.options.order", order_of(task.options)
    if 0 < len(order) < _ORDERED:
        yield Problem(
            path,
            f"names {len(order)} classes, and two have no order",
            "name three or more, or write positiveClass",
        )
    for place, name in enumerate(order):
        if any(name == one and type(name) is type(one) for one in order[:place]):
            yield Problem(f"{path}[{place}]", f"{name} is there twice", "keep one of them")


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
        a_threshold_has_its_numbers,
        an_order_is_of_several_classes,
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
    metrics=_CLASSIFICATION,
    narrow=narrowed,
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
