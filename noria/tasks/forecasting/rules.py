"""Rules of what a forecast knows beside the values: covariates and holidays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from noria.errors import Problem
from noria.spec.data import Data
from noria.tasks.forecasting import HISTORY

READ_BY: Final = ("auto", "boosting")
"""The algorithms that look at more than one series' own values."""

_OF_STEPS: Final = ("numeric", "boolean")
_OF_SERIES: Final = (*_OF_STEPS, "categorical")
_CALENDAR: Final = re.compile(r"[A-Z]{2,3}(-[A-Za-z0-9]{1,20})?")
_LONG: Final = ("week", "month", "quarter", "year")


def covariates_have_a_part(task: Any, data: Data, train: Any) -> Iterator[Problem]:
    """Each is a feature of a type that can be forecast with, and has one part."""
    options = task.options
    types = {feature.name: feature.type for feature in data.features}
    said = {"knownAhead": options.known_ahead, "past": options.past}
    for key, names in said.items():
        for place, name in enumerate(names):
            path = f"spec.task.options.{key}[{place}]"
            if name not in types:
                yield Problem(path, f"{name} is no feature", "add it to spec.data.features")
            elif name in names[:place] or (key == "past" and name in options.known_ahead):
                yield Problem(path, f"{name} is there twice", "keep one of them")
    for place, feature in enumerate(data.features):
        path, name = f"spec.data.features[{place}]", feature.name
        of_steps = name in options.known_ahead or name in options.past
        fitting = _OF_STEPS if of_steps else _OF_SERIES
        if feature.source_ != "request":
            yield Problem(
                f"{path}.from", f"{task.family} looks nothing up in a feature store", "remove it"
            )
        if feature.type not in fitting:
            what = "that changes from step to step" if of_steps else "of a whole series"
            yield Problem(
                f"{path}.type",
                f"{name} is {feature.type}, and a feature {what} is {' or '.join(fitting)}",
                "write a boolean for each category" if of_steps else "remove it",
            )
        if name == HISTORY:
            yield Problem(f"{path}.name", "is what a request calls the values", "rename the column")
    if data.features and train.algorithm not in READ_BY:
        yield Problem(
            "spec.data.features",
            f"{train.algorithm} looks at a series' own values alone",
            f"write algorithm: {' or '.join(READ_BY)}, or remove them",
        )


def holidays_are_of_days(task: Any, train: Any) -> Iterator[Problem]:
    """A calendar is one that may exist, and a step is no longer than a day."""
    options, path = task.options, "spec.task.options.holidays"
    for place, name in enumerate(options.holidays):
        if name in options.holidays[:place]:
            yield Problem(f"{path}[{place}]", f"{name} is there twice", "keep one of them")
        elif not _CALENDAR.fullmatch(name):
            yield Problem(
                f"{path}[{place}]",
                f"{name} is no code of a country",
                "write one of ISO 3166, such as KR, or DE-BY for a part of a country",
            )
    if not options.holidays:
        return
    if any(unit in options.step for unit in _LONG):
        yield Problem(
            path,
            f"a step of {options.step} holds several days",
            "remove it, or write a step of a day or less",
        )
    if "day" in options.step and options.step not in ("day", "1 day"):
        yield Problem(
            path, f"a step of {options.step} holds several days", "remove it, or write step: day"
        )
    if train.algorithm not in READ_BY:
        yield Problem(
            path,
            f"{train.algorithm} looks at a series' own values alone",
            f"write algorithm: {' or '.join(READ_BY)}, or remove it",
        )


def sums_are_of_the_key(task: Any, data: Data) -> Iterator[Problem]:
    """A level names some columns of the key, and nothing stands beside the values."""
    options, path = task.options, "spec.task.options.hierarchy"
    key = tuple(data.entity_key)
    for place, level in enumerate(options.hierarchy):
        where = f"{path}[{place}]"
        for name in level:
            if name not in key:
                yield Problem(
                    where,
                    f"{name} is no column of spec.data.entityKey",
                    f"write some of {', '.join(key)}, or add it there"
                    if key
                    else "name the columns of the series in spec.data.entityKey",
                )
        if len(set(level)) < len(level):
            yield Problem(where, "names a column twice", "keep one of them")
        elif level and set(level) == set(key):
            yield Problem(where, "is each series alone, and no sum", "leave a column out")
        elif set(level) in [set(other) for other in options.hierarchy[:place]]:
            yield Problem(where, "is there twice", "keep one of them")
    if options.hierarchy and not key:
        yield Problem(path, "one series has no parts", "remove it, or write spec.data.entityKey")
    if options.hierarchy and data.features:
        yield Problem(
            path,
            "sums have no features, and spec.data.features names some",
            "remove the features, or the hierarchy",
        )
    if options.hierarchy and options.choice != "globally":
        yield Problem(
            "spec.task.options.choice",
            f"{options.choice} and a hierarchy are not reconciled together",
            "remove one of them",
        )
    if not options.hierarchy and options.reconcile != "min-trace":
        yield Problem(
            "spec.task.options.reconcile",
            "there are no sums to reconcile",
            f"write {path}, such as [[region]], or remove it",
        )
