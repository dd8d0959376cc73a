"""``spec.train``: how a candidate is fitted, and on what machine."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from noria.errors import shorten
from noria.spec.families import FromFamilies, installed
from noria.spec.section import FILLED, Items, ScalarValue, Section, refuse
from noria.spec.spaces import SearchRange
from noria.spec.units import Bytes, BytesOrNone, Cpu, PositiveDuration, StepDuration


def _algorithms() -> Any:
    names = (name for plugin in installed().plugins for name in plugin.family.algorithm_names)
    return Literal[tuple(dict.fromkeys(names))]


AlgorithmName: TypeAlias = Annotated[str, FromFamilies(_algorithms)]
"""The name of an algorithm that one of the installed families has."""


class Search(Section):
    """Search of hyperparameters."""

    kind: Literal["none", "grid", "random", "bayesian"] = Field(
        json_schema_extra=FILLED,
        default="none",
        description="By default none, with effort good bayesian. none trains once with "
        "hyperparameters; grid tries all choices; random draws; "
        "bayesian is a tree-structured Parzen estimator with pruning.",
    )
    trials: int = Field(
        json_schema_extra=FILLED,
        default=20,
        ge=1,
        le=100_000,
        description="Greatest number of trials. By default 20, which finds most gains; with a "
        "train.budget 1000, which leaves it to that.",
    )
    timeout: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="Longest time for all trials, a duration; a trial under way ends with it. The "
        "best so far is kept, and none: the hyperparameters. The final fits, of a stack too, come "
        "after it; compute.timeout bounds them.",
    )
    metric: str = Field(
        json_schema_extra=FILLED,
        default="",
        max_length=63,
        description="Metric to improve, on the cross-validation folds. "
        "By default the first metric of the task family.",
    )
    space: dict[str, SearchRange] = Field(
        json_schema_extra=FILLED,
        default={},
        max_length=100,
        description="Where each hyperparameter is searched, by name. By default what matters most "
        "to the algorithm, in ranges that fit most data.",
    )


class CrossValidation(Section):
    """The folds that trials are measured on."""

    kind: Literal["temporal", "stratified", "group"] = Field(
        json_schema_extra=FILLED,
        default="temporal",
        description="As in data.split, which is also its default: folds must resemble the test.",
    )
    folds: int = Field(
        default=3, ge=2, le=50, description="Number of folds. 3 costs little and averages enough."
    )


class Ensemble(Section):
    """Several algorithms as one model."""

    kind: Literal["none", "weighted", "stacking"] = Field(
        json_schema_extra=FILLED,
        default="none",
        description="weighted averages what does best together on held-out rows; stacking fits a "
        "linear model on the members' out-of-fold predictions. By default weighted for columns "
        "where nothing is said of hyperparameters, search, algorithm and nodes, else none.",
    )
    members: Items[AlgorithmName] = Field(
        json_schema_extra=FILLED,
        default=(),
        max_length=13,
        description="Algorithms to put together, two or more (not of kind none). By default "
        "train.algorithm and linear.",
    )


class Gpu(Section):
    """Graphics processors of one node."""

    product: str = Field(
        default="",
        max_length=63,
        description="Value of the node label nvidia.com/gpu.product. Empty: any product will do.",
    )
    count: int = Field(default=0, ge=0, le=64, description="GPUs for each node. 0: none.")


_MAX_IMAGE_CHARS: Final = 500


def _image(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if len(value) > _MAX_IMAGE_CHARS or any(c.isspace() or not c.isprintable() for c in value):
        raise refuse(
            f"{shorten(value)} is not the name of an image",
            "write one such as registry.example/team/parcels@sha256:...",
        )
    return value


ImageName: TypeAlias = Annotated[
    str,
    BeforeValidator(_image),
    WithJsonSchema({"type": "string", "maxLength": _MAX_IMAGE_CHARS, "pattern": r"^\S*$"}),
]
"""The name of a container image, or nothing."""


class Compute(Section):
    """The machine that a training step asks for."""

    cpu: Cpu = Field(default="2", description="CPUs of one node, a Kubernetes quantity.")
    memory: Bytes = Field(
        default=4 << 30,
        description="Memory of one node, bytes with a unit. 4Gi holds a million rows of columns.",
    )
    gpu: Gpu = Field(default_factory=Gpu, description="GPUs of one node.")
    node_pool: str = Field(
        default="", max_length=63, description="Node pool to run in. Empty: the scheduler chooses."
    )
    nodes: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Nodes that train together. More than 1 needs an algorithm that distributes.",
    )
    image: ImageName = Field(
        default="",
        description="Image that steps run in on a cluster, built on Noria's components image, with "
        "the project in /model; best by digest. Empty: the installation's components image.",
    )
    shared_memory: BytesOrNone = Field(
        default=0,
        description="Size of /dev/shm, bytes with a unit, for data loaders of several processes. "
        "Empty (0 in code): the container's 64 MB.",
    )
    retries: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Times that a failed step runs again. 0: a bug fails at once.",
    )
    timeout: StepDuration = Field(
        default=timedelta(hours=1),
        description="Longest time of one step, a duration, at most 365d, so that none hangs for "
        "ever.",
    )
    cache: bool = Field(
        default=True, description="Reuse a step's result when its inputs are the same."
    )


class Train(Section):
    """How a candidate is fitted, and on what machine."""

    algorithm: AlgorithmName = Field(
        json_schema_extra=FILLED,
        default="lightgbm",
        description="What is fitted, beside the simple baseline that always is. "
        "By default the first algorithm of the task family.",
    )
    hyperparameters: dict[str, ScalarValue] = Field(
        default={}, description="Hyperparameters under the library's own names. None: its defaults."
    )
    effort: Literal["fast", "good"] = Field(
        default="fast",
        description="How much is tried where search and ensemble say nothing. fast finds the "
        "rounds of few learners and averages them; good searches hyperparameters too, and averages "
        "the best trials and every algorithm.",
    )
    budget: PositiveDuration | None = Field(
        default=None,
        description="Longest time for all that is tried and the fits of what was found, a duration "
        "of computing: on a busy machine the clock runs longer. The best found within it is "
        "trained, always a model. null: search.timeout bounds the trials.",
    )
    search: Search = Field(default_factory=Search, description="Search of hyperparameters.")
    cross_validation: CrossValidation = Field(
        default_factory=CrossValidation, description="The folds that trials are measured on."
    )
    ensemble: Ensemble = Field(
        default_factory=Ensemble, description="Several algorithms as one model."
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Seed of everything random, so that a run can be repeated.",
    )
    refit: bool = Field(
        default=True,
        description="After the gates are measured on held-out rows, fit again on all rows, so that "
        "the served model knows the latest.",
    )
    compute: Compute = Field(default_factory=Compute, description="The machine of a training step.")
