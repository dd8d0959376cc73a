"""Rules that several families have; see ``noria.spec.family.Family.rules``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noria.errors import Problem
from noria.spec.data import Data
from noria.spec.family import Rule
from noria.spec.train import Train
from noria.spec.words import choose, did_you_mean


def columns_are_named(task: Any, data: Data) -> Iterator[Problem]:
    """A family of rows reads columns."""
    if not data.features and not data.time_features:
        yield Problem(
            "spec.data.features",
            f"is empty, and {task.family} reads columns",
            "list the columns, such as {name: distance, type: numeric}",
        )


def later_is_held_out(task: Any, data: Data) -> Iterator[Problem]:
    """What is said of a moment is judged by what came later."""
    if data.split.kind != "temporal" and data.event_time is not None:
        yield Problem(
            "spec.data.split.kind",
            f"{data.split.kind} would let a {task.family} model know the future",
            "write temporal, or remove it",
        )


def hyperparameters_of(known: Mapping[str, tuple[str, ...]]) -> Rule:
    """Return the rule that an algorithm has the hyperparameters that are set or searched.

    Args:
        known: Those of each algorithm.
    """

    def hyperparameters_exist(task: Any, train: Train) -> Iterator[Problem]:
        """An algorithm has the hyperparameters that are set or searched."""
        own = known.get(train.algorithm)
        if own is None:
            return
        for path, names in (
            ("spec.train.hyperparameters", train.hyperparameters),
            ("spec.train.search.space", train.search.space),
        ):
            for name in names:
                if name not in own:
                    fix = did_you_mean(name, own) or (choose(own) if own else "remove it")
                    said = f"is unknown to {train.algorithm} of {task.family}"
                    yield Problem(f"{path}.{name}", said, fix)

    return hyperparameters_exist
