"""What a task family says about itself, in plain values: no machine-learning library is needed.

A family is a package's entry point in the group ``noria.families``; its value is a ``Family``.
``noria.spec.families`` finds them. What loads a family's packages is another entry point
(``noria.tasks.loaders``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from noria.errors import InvalidInput, Problem, shorten
from noria.measures.catalog import METRICS, Metric, OwnMetric
from noria.spec.monitoring import Detector
from noria.spec.section import Section
from noria.spec.spaces import SearchRange

if TYPE_CHECKING:
    from noria.spec.data import FeatureType

SHARED_SOURCES: Final = ("feast", "parquet", "csv")
"""The keys of ``spec.data.source`` that are no family's own."""

TORCHRUN: Final = ("torchrun",)
"""What starts the processes of a node that train together by ``torch.distributed``."""

Rule: TypeAlias = Callable[..., Iterator[Problem]]
"""A rule: its parameters name the sections of ``spec`` that it reads (``task``, ``data``...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One way to fit a model of a family.

    ``space`` is where it is searched by default, by hyperparameter; ``aliases`` are other names
    that a hyperparameter of the space goes by. ``library`` is the module that it needs beside
    the family's, ``install`` how to install it where the family's ``needs`` don't bring it.
    ``distributes``: it can train on more than one node, where each process is started by
    ``launcher``.
    """

    name: str
    space: Mapping[str, SearchRange] = field(default_factory=dict)
    aliases: Mapping[str, frozenset[str]] = field(default_factory=dict)
    library: str = ""
    install: str = ""
    distributes: bool = False
    launcher: tuple[str, ...] = TORCHRUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What training needs: modules to import, how to install them, a GPU or not."""

    libraries: tuple[str, ...] = ()
    install: str = ""
    gpu: Literal["none", "optional", "required"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A task family.

    Attributes:
        name: Value of ``spec.task.family``, a DNS label; also the entry point's name.
        about: What it predicts from what, one line.
        options: The class of ``spec.task.options``; every key has a default.
        algorithms: What can be fitted; the first is the default.
        metrics: Names in ``noria.measures.catalog``, and those of ``own_metrics``; the first is the
            default.
        own_metrics: Metrics that it brings, for all that a metric is for.
        baseline: The output that is a simple model's prediction of the same sample, as wide as the
            prediction; metrics of ``baselines`` are measured beside it. Empty: there is none.
        sources: The shared keys of ``spec.data.source`` that it reads.
        data: Keys of its own in ``spec.data.source``, with their classes.
        target: What the target column holds; None: it learns without one. Of texts, such as the
            names of items, the family makes the numbers that predictions and labels are.
        stack: Algorithms to stack with another by default, best first; empty: it can't stack.
        inputs: Columns that a client sends and ``spec.data`` does not name, by their type: that of
            a feature, ``series`` or ``image``. A feature that is named here is sent as this says.
        key_has_time: A sample is named by its entity key and its event time together: the same
            entity is asked about again and again.
        label_lag: How long the last label of a sample takes to come, from the options; None: that
            is not the family's affair. ``maxLabelLag`` is so much longer by default.
        detectors: What is watched by default.
        heeds: What its fits heed of ``spec.data`` that not every family can: ``weight``, and
            ``monotone`` of a feature. It is refused where it would not be heeded.
        descriptors: Numbers of a request that are watched beside ``spec.data.features``, by name.
            The predictor computes them (``noria.tasks.package.Describing``), and the manifest
            has them among its features.
        flags: Of the descriptors those that are 0 or 1: what is watched is a share.
        categories: Categories of a request that are watched as descriptors are, by name.
        rules: Rules of its own, beside those of every model.
        needs: What training needs.
        narrow: What its options say otherwise, from the options to changes of these attributes;
            None: nothing. A family that predicts a class or a number says which by it.
        files: The project's own files that training reads, from the options to paths relative to
            model.yaml; None: none. They travel with a run, and their digests are in the card.
        receives: Where a model that was trained elsewhere is put, from the options to a folder
            relative to model.yaml; None, or empty: it takes none. ``noria register`` puts it there.
        cautions: What whoever answers for the model should know of its options, a sentence each;
            None: nothing. ``noria validate``, the card and ``noria status`` show them.
        learner: ``module:attribute`` of its ``noria.tasks.protocol.TaskFamily``.
        template: ``module:attribute`` of what ``noria init`` writes: texts by file name, where
            ``$name`` stands for the model's name. ``model.yaml`` is one; ``data.py``, if there,
            makes rows to try it on.
        draft: ``module:attribute`` of what ``noria init --data`` writes instead: a function of the
            model's name, its folder, a file of rows, the target, and the family or None, that
            returns texts by file name. Empty: it can't tell a model from rows.
    """

    name: str
    about: str
    options: type[Section]
    algorithms: tuple[Algorithm, ...]
    metrics: tuple[str, ...]
    learner: str
    template: str
    draft: str = ""
    own_metrics: tuple[OwnMetric, ...] = ()
    baseline: str = ""
    sources: tuple[str, ...] = ()
    data: Mapping[str, type[Section]] = field(default_factory=dict)
    target: Literal["class", "number", "text"] | None = None
    stack: tuple[str, ...] = ()
    inputs: Mapping[str, FeatureType | Literal["series", "image"]] = field(default_factory=dict)
    key_has_time: bool = False
    label_lag: Callable[[Any], timedelta] | None = None
    detectors: tuple[Detector, ...] = ()
    heeds: frozenset[Literal["weight", "monotone"]] = frozenset()
    descriptors: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    needs: Needs = Needs()
    narrow: Callable[[Any], Mapping[str, Any]] | None = None
    files: Callable[[Any], tuple[str, ...]] | None = None
    receives: Callable[[Any], str] | None = None
    cautions: Callable[[Any], tuple[str, ...]] | None = None

    def of(self, options: object) -> Family:
        """Return the family as options of ``spec.task.options`` make it."""
        return self if self.narrow is None else replace(self, **self.narrow(options))

    def files_of(self, options: object) -> tuple[str, ...]:
        """Return the project's own files that training with these options reads."""
        return () if self.files is None else self.files(options)

    def receives_in(self, options: object) -> str:
        """Return the folder for models that were trained elsewhere; empty: it takes none."""
        return "" if self.receives is None else self.receives(options)

    def cautions_of(self, options: object) -> tuple[str, ...]:
        """Return what should be known of these options, a sentence each."""
        return () if self.cautions is None else self.cautions(options)

    def label_lag_of(self, options: object) -> timedelta:
        """Return how long the last label of a sample takes to come; 0: the family does not say."""
        return timedelta(0) if self.label_lag is None else self.label_lag(options)

    @property
    def described(self) -> Mapping[str, Literal["numeric", "boolean", "categorical"]]:
        """The types of what is watched beside ``spec.data.features``, by name."""
        found: dict[str, Literal["numeric", "boolean", "categorical"]] = {}
        found |= dict.fromkeys(self.descriptors, "numeric")
        found |= dict.fromkeys(self.flags, "boolean")
        return found | dict.fromkeys(self.categories, "categorical")

    @property
    def default_algorithm(self) -> str:
        """The algorithm of a model that names none."""
        return self.algorithms[0].name

    @property
    def default_metric(self) -> str:
        """The metric wherever one is needed and none is named."""
        return self.metrics[0]

    def metric(self, name: str) -> Metric | None:
        """Return a metric of its own, or of Noria's; None when there is none of that name."""
        return next((one for one in self.own_metrics if one.name == name), METRICS.get(name))

    def named(self, name: str) -> Metric:
        """Return a metric as ``metric`` does.

        Raises:
            InvalidInput: There is none of that name.
        """
        found = self.metric(name)
        if found is None:
            raise InvalidInput(
                f"{shorten(name)} is not a metric of {self.name}",
                fix=f"use one of {', '.join(self.metrics)}",
            )
        return found

    @property
    def algorithm_names(self) -> tuple[str, ...]:
        """The names of the algorithms, the default first."""
        return tuple(algorithm.name for algorithm in self.algorithms)

    @property
    def source_kinds(self) -> tuple[str, ...]:
        """The keys of ``spec.data.source`` that it reads, shared ones first."""
        return (*self.sources, *self.data)

    def algorithm(self, name: str) -> Algorithm | None:
        """Return one of its algorithms; None when it has none of that name."""
        return next((one for one in self.algorithms if one.name == name), None)

    def libraries(self, algorithms: Collection[str]) -> tuple[str, ...]:
        """Return the modules that training needs with these algorithms, in the order of need."""
        own = (one.library for one in self.algorithms if one.name in algorithms and one.library)
        return tuple(dict.fromkeys((*self.needs.libraries, *own)))

    def install(self, algorithms: Collection[str]) -> str:
        """Return how to install what training needs with these algorithms; empty: nobody says."""
        own = (one.install for one in self.algorithms if one.name in algorithms)
        return " ".join(filter(None, dict.fromkeys((self.needs.install, *own))))

    def missing(self, algorithms: Collection[str]) -> tuple[str, ...]:
        """Return the packages of ``libraries`` that are not there, without importing any."""
        needed = (library.partition(".")[0] for library in self.libraries(algorithms))
        return tuple(name for name in dict.fromkeys(needed) if find_spec(name) is None)
