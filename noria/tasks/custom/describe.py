"""What the family ``custom`` says about itself; see ``noria.spec.family.Family``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from pydantic import Field

from noria.errors import Problem, shorten
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.monitoring import Detector
from noria.spec.section import Items, ScalarValue, Section
from noria.spec.words import choose, did_you_mean
from noria.tasks.tabular.describe import (
    CLASSIFICATION,
    REGRESSION,
    columns_and_a_target,
    columns_can_be_read,
)

OWN_CLASS: Final = Algorithm(name="own-class")
_METRICS: Final = {"class": CLASSIFICATION.metrics, "number": REGRESSION.metrics}
_ENTRY: Final = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


class CustomOptions(Section):
    """Options of ``custom``."""

    predicts: Literal["class", "number"] = Field(
        default="class",
        description="What the target holds. class: predict gives probabilities, number: values.",
    )
    model: str = Field(
        default="model.py:Model",
        min_length=1,
        max_length=200,
        description="The project's class: a Python file relative to this one, a colon, and the "
        "name of the class. It has the methods fit, predict, save and load.",
    )
    metrics: Items[str] = Field(
        default=(),
        max_length=20,
        description="What the model is measured by, the default of gates and watch first. Empty: "
        "every metric of what it predicts.",
        examples=[["log-loss", "accuracy"]],
    )
    positive_class: ScalarValue | None = Field(
        default=None,
        description="Of two classes the one whose probability is the prediction. null is the "
        "greater label in sorted order, so that 1, true and 'yes' win.",
    )
    allow_pickle: bool = Field(
        default=False,
        description="Take a package that holds a pickle. A pickle can run any code when it is "
        "loaded, and breaks when a library changes: card and status say that there is one.",
    )


def entry_of(options: CustomOptions) -> tuple[str, str]:
    """Return the file and the name of the project's class; ("", "") where they can't be told."""
    found = _ENTRY.fullmatch(options.model)
    return (found["file"], found["name"]) if found else ("", "")


def narrowed(options: CustomOptions) -> Mapping[str, Any]:
    """Return what the options make of the family: its target and its metrics."""
    of_kind = _METRICS[options.predicts]
    wanted = tuple(dict.fromkeys(name for name in options.metrics if name in of_kind))
    return {"target": options.predicts, "metrics": wanted or of_kind}


def files_of(options: CustomOptions) -> tuple[str, ...]:
    """Return the files that hold the project's model."""
    return tuple(name for name in entry_of(options)[:1] if name)


def cautions_of(options: CustomOptions) -> tuple[str, ...]:
    """Say what whoever answers for the model should know."""
    if not options.allow_pickle:
        return ()
    said = (
        "its package may hold a pickle (spec.task.options.allowPickle); loading one runs any code"
    )
    return (said,)


def the_class_is_named(task: Any) -> Iterator[Problem]:
    """A model of the project's own names a Python file below this one, and a class in it."""
    path, options = "spec.task.options.model", task.options
    file, _ = entry_of(options)
    pure = PurePosixPath(file)
    if not file:
        yield Problem(
            path, f"{shorten(options.model)} names no file and class", "write model.py:Model"
        )
    elif pure.is_absolute() or ".." in pure.parts or "\\" in file or str(pure) != file:
        yield Problem(
            path,
            f"{file} does not lie below this file",
            "put it beside model.yaml: it travels with every version",
        )


def metrics_are_of_what_is_predicted(task: Any) -> Iterator[Problem]:
    """The metrics of a model of the project's own are those of classes, or those of numbers."""
    of_kind = _METRICS[task.options.predicts]
    for place, name in enumerate(task.options.metrics):
        path = f"spec.task.options.metrics[{place}]"
        if name not in of_kind:
            said = f"{shorten(name)} does not measure a {task.options.predicts}"
            yield Problem(path, said, did_you_mean(name, of_kind) or choose(of_kind))
        elif name in task.options.metrics[:place]:
            yield Problem(path, f"{name} is there twice", "keep one of them")


def a_positive_class_is_of_classes(task: Any) -> Iterator[Problem]:
    """A positive class is one of two classes, not of a number."""
    if task.options.predicts == "number" and task.options.positive_class is not None:
        yield Problem(
            "spec.task.options.positiveClass",
            f"{shorten(task.options.positive_class)}, and predicts is number",
            "remove it",
        )


CUSTOM: Final = Family(
    name="custom",
    about="What a class of the project's own predicts, from a row of columns.",
    options=CustomOptions,
    algorithms=(OWN_CLASS,),
    metrics=(*CLASSIFICATION.metrics, *REGRESSION.metrics),
    sources=("feast", "parquet", "csv"),
    target="class",
    detectors=(
        Detector(name="features", kind="tabular", watch="features"),
        Detector(name="prediction", kind="ks", watch="prediction"),
    ),
    rules=(
        columns_and_a_target,
        columns_can_be_read,
        the_class_is_named,
        metrics_are_of_what_is_predicted,
        a_positive_class_is_of_classes,
    ),
    needs=Needs(
        libraries=("pandas", "pyarrow.parquet", "scipy.optimize", "matplotlib.figure"),
        install="noria[training]",
    ),
    narrow=narrowed,
    files=files_of,
    cautions=cautions_of,
    learner="noria.tasks.custom.family:LEARNER",
    template="noria.tasks.custom.template:TEMPLATE",
)
