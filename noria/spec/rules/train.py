"""Rules of ``spec.train`` and ``spec.gates``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from noria.errors import Problem
from noria.spec.data import Data
from noria.spec.families import described
from noria.spec.gates import Gates
from noria.spec.rules.data import repeats
from noria.spec.rules.metric import too_wide, unfit, unjudged, unreachable
from noria.spec.spaces import SearchRange
from noria.spec.train import Train
from noria.spec.units import format_duration
from noria.spec.words import choose


def algorithms_fit_the_family(task: Any, train: Train) -> Iterator[Problem]:
    """The algorithm and the ensemble's members are of this family."""
    family = described(task)
    known = family.algorithm_names
    if train.algorithm not in known:
        yield Problem(
            "spec.train.algorithm", f"{train.algorithm} can't do {task.family}", choose(known)
        )
    ensemble = train.ensemble
    path = "spec.train.ensemble"
    if ensemble.kind == "none":
        if ensemble.members:
            yield Problem(
                f"{path}.members", "is not used by kind none", "choose kind stacking, or remove it"
            )
        return
    if not family.stack:
        yield Problem(f"{path}.kind", f"{task.family} has no {ensemble.kind}", "write none")
        return
    if len(ensemble.members) < 2:
        yield Problem(
            f"{path}.members",
            f"has {len(ensemble.members)} algorithms, and {ensemble.kind} needs 2",
            "name two algorithms or more, such as [lightgbm, linear]",
        )
    for index, member in enumerate(ensemble.members):
        if member not in known:
            yield Problem(
                f"{path}.members[{index}]", f"{member} can't do {task.family}", choose(known)
            )
    yield from repeats(f"{path}.members", ensemble.members)


def the_search_has_a_space(task: Any, train: Train) -> Iterator[Problem]:
    """A search needs a space of sound ranges, none of which is also a fixed value."""
    search = train.search
    yield from unfit("spec.train.search.metric", search.metric, described(task))
    for name, values in search.space.items():
        yield from _unsound(f"spec.train.search.space.{name}", values)
    if search.kind == "none":
        return
    if not search.space:
        yield Problem(
            "spec.train.search.space",
            f"is empty, and kind is {search.kind}",
            "name what to search, such as learning_rate: {low: 0.01, high: 0.3}",
        )
    for name, values in search.space.items():
        path = f"spec.train.search.space.{name}"
        if name in train.hyperparameters:
            yield Problem(path, "is fixed in hyperparameters too", "keep one of them")
        if search.kind == "grid" and values.choices is None:
            yield Problem(path, "has no choices, and a grid tries all", "give choices: [...]")
    if search.timeout > train.compute.timeout:
        yield Problem(
            "spec.train.search.timeout",
            f"{format_duration(search.timeout)} is longer than compute.timeout, "
            f"{format_duration(train.compute.timeout)}, which stops the step",
            "raise compute.timeout",
        )


def _unsound(path: str, values: SearchRange) -> Iterator[Problem]:
    low, high = values.low, values.high
    if values.choices is not None:
        if low is not None or high is not None or values.log:
            yield Problem(path, "has choices and a range", "keep choices, or low and high")
        if not values.choices:
            yield Problem(f"{path}.choices", "is empty", "give two values or more")
        for index, choice in enumerate(values.choices):
            before = values.choices[:index]
            if any(choice == other and type(choice) is type(other) for other in before):
                yield Problem(f"{path}.choices[{index}]", f"{choice} is there twice", "keep one")
        return
    if low is None or high is None:
        missing = "low" if low is None else "high"
        yield Problem(f"{path}.{missing}", "is missing", "give low and high, or choices")
        return
    if low >= high:
        yield Problem(f"{path}.high", f"{high:g} is not over low, {low:g}", "write low under high")
    if values.log and low <= 0:
        yield Problem(
            f"{path}.low", f"{low:g} has no logarithm", "write a low over 0, or log: false"
        )


def folds_have_their_column(data: Data, train: Train) -> Iterator[Problem]:
    """Temporal folds need a time, group folds a key."""
    kind = train.cross_validation.kind
    if kind == data.split.kind:
        return  # the split's own rule says it once
    if kind == "temporal" and data.event_time is None:
        yield Problem(
            "spec.train.crossValidation.kind",
            "temporal needs an eventTime",
            "give spec.data.eventTime, or choose stratified",
        )
    if kind == "group" and data.split.group_key is None:
        yield Problem(
            "spec.train.crossValidation.kind",
            "group needs a groupKey",
            "give spec.data.split.kind group and its groupKey",
        )


def the_machine_fits_the_algorithm(task: Any, train: Train) -> Iterator[Problem]:
    """Nodes only for what distributes; a GPU's name only with a count."""
    compute = train.compute
    algorithm = described(task).algorithm(train.algorithm)
    if compute.nodes > 1 and algorithm is not None and not algorithm.distributes:
        yield Problem(
            "spec.train.compute.nodes",
            f"{compute.nodes} nodes, and {train.algorithm} trains on one",
            "write 1, and raise cpu and memory instead",
        )
    if compute.gpu.product and not compute.gpu.count:
        yield Problem(
            "spec.train.compute.gpu.count",
            f"0 of {compute.gpu.product}",
            "write how many, or remove product",
        )


def gates_can_be_measured(task: Any, gates: Gates) -> Iterator[Problem]:
    """There is a gate, of metrics of this family, with limits that the metric can reach."""
    if not gates.bounds and not gates.champion:
        yield Problem(
            "spec.gates",
            "asks nothing of a candidate, so any would take traffic",
            "give bounds or champion",
        )
    family = described(task)
    for index, bound in enumerate(gates.bounds):
        path = f"spec.gates.bounds[{index}]"
        yield from unfit(f"{path}.metric", bound.metric, family)
        yield from unjudged(f"{path}.metric", bound.metric, family)
        yield from unreachable(path, family.metric(bound.metric), low=bound.min, high=bound.max)
        if bound.min is None and bound.max is None:
            yield Problem(path, f"{bound.metric} has no limit", "give min, max or both")
    for index, gate in enumerate(gates.champion):
        path = f"spec.gates.champion[{index}]"
        yield from unfit(f"{path}.metric", gate.metric, family)
        yield from unjudged(f"{path}.metric", gate.metric, family)
        if isinstance(gate.max_drop, float):
            yield from too_wide(f"{path}.maxDrop", family.metric(gate.metric), gate.max_drop)
    for key, items in (("bounds", gates.bounds), ("champion", gates.champion)):
        yield from _metrics_once(f"spec.gates.{key}", [item.metric for item in items])


def _metrics_once(path: str, metrics: list[str]) -> Iterator[Problem]:
    for index, metric in enumerate(metrics):
        if metric in metrics[:index]:
            yield Problem(f"{path}[{index}].metric", f"{metric} is there twice", "keep one of them")


TRAIN_RULES: Final = (
    algorithms_fit_the_family,
    the_search_has_a_space,
    folds_have_their_column,
    the_machine_fits_the_algorithm,
    gates_can_be_measured,
)
