"""What the family ``custom`` says about itself; see ``noria.spec.family.Family``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from pydantic import Field

from noria.errors import InvalidInput, Problem, shorten
from noria.measures.catalog import OwnMetric
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
OWN_COMMAND: Final = Algorithm(name="own-command")
ELSEWHERE: Final = Algorithm(name="trained-elsewhere")
DEFAULT_MODEL: Final = "model.py:Model"
_METRICS: Final = {"class": CLASSIFICATION.metrics, "number": REGRESSION.metrics}
_ENTRY: Final = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


class OwnMetricOptions(Section):
    """A metric of the project's own: the mean of what a function says of each held-out row."""

    name: str = Field(
        min_length=1,
        max_length=63,
        description="What it is called in gates and reports: a-z, 0-9 and -.",
        examples=["return"],
    )
    function: str = Field(
        min_length=1,
        max_length=200,
        description="A Python file relative to this one, a colon, and the name of a function of "
        "predict, features and target. It returns a finite number for each row.",
        examples=["episodes.py:returns"],
    )
    greater_is_better: bool = Field(description="Whether more of it is better.")
    low: float | None = Field(default=None, description="The least that a row can get.")
    high: float | None = Field(default=None, description="The most that a row can get.")


class CustomOptions(Section):
    """Options of ``custom``."""

    predicts: Literal["class", "number"] = Field(
        default="class",
        description="What the target holds. class: predict gives probabilities, number: values.",
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The project's class: a Python file relative to this one, a colon, and the "
        "name of the class. It has the methods fit, predict, save and load. null: "
        "model.py:Model, unless there is a command.",
        examples=["model.py:Digits"],
    )
    command: Items[str] = Field(
        default=(),
        max_length=50,
        description="A command of the project's own that trains the model, instead of a class. It "
        "is told by environment variables, which its words may name too, and writes a model that "
        "loads without pickle.",
        examples=[["python", "train.py", "--data", "$NORIA_DATA", "--out", "$NORIA_OUTPUT"]],
    )
    files: Items[str] = Field(
        default=(),
        max_length=50,
        description="The project's files that the command needs, relative to this one. They go "
        "with every run; it starts in a folder that has them alone.",
        examples=[["train.py"]],
    )
    trained: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="A folder, relative to this one, of a model that was trained elsewhere, in "
        "place of a class: what a command would write. It is measured, packaged and served as "
        "it is, and never fitted; `noria register` puts another one there.",
        examples=["trained"],
    )
    metrics: Items[str] = Field(
        default=(),
        max_length=20,
        description="What the model is measured by, the default of gates and watch first. Empty: "
        "every metric of what it predicts.",
        examples=[["log-loss", "accuracy"]],
    )
    own_metrics: Items[OwnMetricOptions] = Field(
        default=(),
        max_length=20,
        description="Metrics of the project's own, which gates, searches and reports may name as "
        "any other. Training measures them; the monitor, which has labels alone, does not.",
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
    """Return the file and the name of the project's class; ("", "") where there is none."""
    if options.command or options.trained is not None:
        return ("", "")
    return file_and_name(options.model or DEFAULT_MODEL)


def file_and_name(where: str) -> tuple[str, str]:
    """Return the parts of ``model.py:Model``; ("", "") where it has none."""
    found = _ENTRY.fullmatch(where)
    return (found["file"], found["name"]) if found else ("", "")


def narrowed(options: CustomOptions) -> Mapping[str, Any]:
    """Return what the options make of the family: its target, metrics and algorithm."""
    own = tuple(filter(None, map(_as_metric, options.own_metrics)))
    known = tuple(dict.fromkeys((*(one.name for one in own), *_METRICS[options.predicts])))
    wanted = tuple(dict.fromkeys(name for name in options.metrics if name in known))
    return {
        "target": options.predicts,
        "metrics": wanted or known,
        "own_metrics": own,
        "algorithms": (_algorithm(options),),
    }


def _as_metric(said: OwnMetricOptions) -> OwnMetric | None:
    """Return it as what the judge measures by; None where a rule refuses it."""
    try:
        return OwnMetric(
            said.name,
            said.greater_is_better,
            low=said.low,
            high=said.high,
            of="inputs",
            per_sample=_as_measured,
        )
    except InvalidInput:
        return None


def _as_measured(truth: Any, measured: Any) -> Any:  # noqa: ARG001 - the function has seen it
    """Return what the project's function said of each row."""
    return measured


def _algorithm(options: CustomOptions) -> Algorithm:
    if options.trained is not None:
        return ELSEWHERE
    return OWN_COMMAND if options.command else OWN_CLASS


def received_in(options: CustomOptions) -> str:
    """Return the folder of a model that was trained elsewhere; empty: it is trained here."""
    return options.trained or ""


def files_of(options: CustomOptions) -> tuple[str, ...]:
    """Return the files that hold the project's model, train it, or measure it."""
    model = options.files if options.command else entry_of(options)[:1]
    beside = (file_and_name(one.function)[0] for one in options.own_metrics)
    return tuple(dict.fromkeys(filter(None, (*model, *beside))))


def cautions_of(options: CustomOptions) -> tuple[str, ...]:
    """Say what whoever answers for the model should know."""
    if not options.allow_pickle:
        return ()
    said = (
        "its package may hold a pickle (spec.task.options.allowPickle); loading one runs any code"
    )
    return (said,)


def the_class_or_the_command_is_named(task: Any) -> Iterator[Problem]:
    """A model of the project's own is a class, or a command with its files."""
    path, options = "spec.task.options", task.options
    if options.trained is not None:
        for key, given in (("model", options.model), ("command", options.command)):
            if given:
                yield Problem(f"{path}.{key}", "there is trained too", "keep one of them")
        if options.files:
            yield Problem(f"{path}.files", "is of a command, and there is none", "remove it")
    elif options.command:
        if options.model is not None:
            yield Problem(f"{path}.model", "there is a command too", "keep one of them")
        if not options.command[0].strip():
            yield Problem(f"{path}.command[0]", "names no program", "write python, for example")
    elif options.files:
        yield Problem(
            f"{path}.files", "is of a command, and there is none", "keep the class in one file"
        )
    elif not entry_of(options)[0]:
        said = f"{shorten(options.model)} names no file and class"
        yield Problem(f"{path}.model", said, f"write {DEFAULT_MODEL}")


def the_files_lie_below(task: Any) -> Iterator[Problem]:
    """The files of a model of the project's own lie below model.yaml: they travel with it."""
    folder = received_in(task.options)
    for name in (*files_of(task.options), *filter(None, (folder,))):
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or str(pure) != name:
            yield Problem(
                f"spec.task.options.{_key_of(name, task.options)}",
                f"{name} does not lie below this file",
                "put it beside model.yaml, and write its path without detours",
            )


def _key_of(name: str, options: CustomOptions) -> str:
    """Return the option that names a file or folder."""
    if name == received_in(options):
        return "trained"
    if options.command and name in options.files:
        return "files"
    return "model" if name == entry_of(options)[0] else "ownMetrics"


def own_metrics_can_be_measured(task: Any) -> Iterator[Problem]:
    """A metric of the project's own has a name of its own, a function, and limits in order."""
    seen: set[str] = set()
    for place, said in enumerate(task.options.own_metrics):
        path = f"spec.task.options.ownMetrics[{place}]"
        if not file_and_name(said.function)[0]:
            words = f"{shorten(said.function)} names no file and function"
            yield Problem(f"{path}.function", words, "write episodes.py:returns")
        if said.name in seen:
            yield Problem(f"{path}.name", f"{said.name} is there twice", "give another name")
        seen.add(said.name)
        try:
            OwnMetric(
                said.name, said.greater_is_better, low=said.low, high=said.high, whole=_as_measured
            )
        except InvalidInput as error:
            yield Problem(path, error.message, error.fix)


def metrics_are_of_what_is_predicted(task: Any) -> Iterator[Problem]:
    """The metrics of a model of the project's own are those of classes, or those of numbers."""
    own = tuple(one.name for one in task.options.own_metrics)
    of_kind = (*own, *_METRICS[task.options.predicts])
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
    about="What your own model predicts.",
    options=CustomOptions,
    algorithms=(OWN_CLASS, OWN_COMMAND, ELSEWHERE),
    metrics=(*CLASSIFICATION.metrics, *REGRESSION.metrics),
    sources=("feast", "parquet", "csv"),
    target="class",
    detectors=(
        Detector(name="features", kind="tabular", watch="features"),
        Detector(name="prediction", kind="ks", watch="prediction"),
    ),
    heeds=frozenset({"weight"}),
    rules=(
        columns_and_a_target,
        columns_can_be_read,
        the_class_or_the_command_is_named,
        the_files_lie_below,
        own_metrics_can_be_measured,
        metrics_are_of_what_is_predicted,
        a_positive_class_is_of_classes,
    ),
    needs=Needs(
        libraries=(
            "pandas",
            "pyarrow.parquet",
            "scipy.optimize",
            "matplotlib.backends.backend_agg",
        ),
        install="noria[training]",
    ),
    narrow=narrowed,
    files=files_of,
    receives=received_in,
    cautions=cautions_of,
    learner="noria.tasks.custom.family:LEARNER",
    template="noria.tasks.custom.template:TEMPLATE",
)
