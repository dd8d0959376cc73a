"""What ``multi-label`` says about itself; see ``noria.spec.family.Family``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pydantic import Field

from noria.errors import InvalidInput, Problem
from noria.labels import checked_targets
from noria.spec.data import Data
from noria.spec.family import Family
from noria.spec.section import Column, Items, Section
from noria.spec.train import Train
from noria.tasks.rules import columns_are_named
from noria.tasks.tabular.describe import (
    CLASSIFICATION,
    Threshold,
    a_stack_trains_on_one_node,
    a_threshold_has_its_numbers,
    hyperparameters_exist,
    monotone_is_kept,
    texts_are_bounded,
)

if TYPE_CHECKING:
    from noria.spec.model import ModelSpec

_PATH: Final = "spec.task.options.labels"
_SEVERAL: Final = 2


class MultiLabelOptions(Section):
    """Options of ``multi-label``."""

    labels: Items[Column] = Field(
        default=(),
        max_length=100,
        description="The columns to predict, two or more, each true or false (or 1 or 0) in every "
        "row. Answers and labels are in this order.",
        examples=[["refund", "urgent"]],
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="none keeps probabilities calibrated; balanced weighs, of each label, both "
        "answers by the inverse of their share.",
    )
    calibration: Literal["none", "isotonic", "sigmoid"] = Field(
        default="none",
        description="Calibration of each label's probability on held-out folds: isotonic needs a "
        "thousand rows or more, sigmoid fewer.",
    )
    threshold: Threshold = Field(
        default_factory=Threshold,
        description="From which probability on a label is answered with 1; chosen for each label "
        "by itself. Probabilities stay as they are.",
        examples=[{"for": "f1"}],
    )


def options_of(spec: ModelSpec) -> MultiLabelOptions:
    """Return a model's options."""
    return cast("MultiLabelOptions", spec.task.options)


def labels_are_named(task: Any, data: Data) -> Iterator[Problem]:
    """There are several labels, each a column of its own that nothing else is read from."""
    labels = task.options.labels
    if data.target is not None:
        yield Problem(
            "spec.data.target",
            f"{task.family} predicts the columns of {_PATH}",
            "remove it, and name the column there",
        )
    if len(labels) < _SEVERAL:
        yield Problem(
            _PATH,
            f"names {len(labels)} columns, and {task.family} predicts two or more",
            f"name the columns of yes and no; of one alone write family: {CLASSIFICATION.name}",
        )
    taken: dict[str | None, str] = {
        **dict.fromkeys(data.validation.ranges, "in validation.ranges"),
        data.split.group_key: "the groupKey",
        data.weight: "the weight",
        data.label_time: "the labelTime",
        data.event_time: "the eventTime",
        **dict.fromkeys(data.join_keys, "in joinKeys"),
        **dict.fromkeys(data.entity_key, "in entityKey"),
        **dict.fromkeys(data.feature_names(), "a feature"),
    }
    for place, name in enumerate(labels):
        if name in labels[:place]:
            yield Problem(f"{_PATH}[{place}]", f"{name} is there twice", "keep one of them")
        elif name in taken:
            fix = "remove it here or there: what is predicted is not known when it is asked for"
            yield Problem(f"{_PATH}[{place}]", f"{name} is also {taken[name]}", fix)
    try:
        checked_targets(tuple(dict.fromkeys(labels)), _PATH)
    except InvalidInput as error:
        yield Problem(_PATH, error.message.removeprefix(f"{_PATH}: "), error.fix)


def a_search_is_of_all_labels(train: Train) -> Iterator[Problem]:
    """A search finds what all labels share, an average is chosen for each of them."""
    if train.search.kind != "none" and train.ensemble.kind == "weighted":
        yield Problem(
            "spec.train.search.kind",
            "a search finds hyperparameters that all labels share, and the members of an average "
            "are chosen for each label",
            "write none, or spec.train.ensemble.kind: none",
        )


MULTI_LABEL: Final = Family(
    name="multi-label",
    about="Several yes/no answers about one row.",
    options=MultiLabelOptions,
    algorithms=tuple(
        # Each label has a fit of its own: a node fits all of them.
        type(one)(name=one.name, space=one.space, aliases=one.aliases, library=one.library)
        for one in CLASSIFICATION.algorithms
    ),
    metrics=("micro-f1", "f1", "auc", "average-precision", "hamming-loss", "subset-accuracy"),
    sources=("parquet", "csv"),
    target="number",
    stack=CLASSIFICATION.stack,
    detectors=CLASSIFICATION.detectors,
    heeds=CLASSIFICATION.heeds,
    rules=(
        labels_are_named,
        columns_are_named,
        texts_are_bounded,
        a_threshold_has_its_numbers,
        a_search_is_of_all_labels,
        monotone_is_kept,
        hyperparameters_exist,
        a_stack_trains_on_one_node,
    ),
    needs=CLASSIFICATION.needs,
    learner="noria.tasks.multilabel.family:LEARNER",
    template="noria.tasks.multilabel.template:TEMPLATE",
)
