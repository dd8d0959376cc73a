"""Rules of ``spec.data``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from noria.errors import Problem
from noria.exchange.texts import describing
from noria.spec.data import Data
from noria.spec.families import described
from noria.spec.units import format_duration
from noria.spec.words import choose


def one_source_that_the_family_reads(task: Any, data: Data) -> Iterator[Problem]:
    """Exactly one key of source, and one that the family can read."""
    family, kinds = described(task), data.source.kinds()
    readable = family.source_kinds
    if not kinds:
        yield Problem("spec.data.source", "names no source", f"give one of {', '.join(readable)}")
    elif len(kinds) > 1:
        yield Problem(
            "spec.data.source", f"names {len(kinds)} sources: {', '.join(kinds)}", "keep one"
        )
    elif kinds[0] not in readable:
        yield Problem(
            f"spec.data.source.{kinds[0]}",
            f"{family.name} can't read {kinds[0]}",
            choose(readable),
        )


def csv_can_be_told_apart(data: Data) -> Iterator[Problem]:
    """A comma is the separator or the decimal sign, not both."""
    csv = data.source.csv
    if csv is not None and csv.separator == csv.decimal:
        yield Problem(
            "spec.data.source.csv.decimal",
            f"{csv.decimal!r} is also the separator",
            "give the separator of the files, such as ';'",
        )


def features_are_no_answers(data: Data) -> Iterator[Problem]:
    """No column twice, and none that is the target, a time or a key."""
    seen: dict[str, int] = {}
    for index, feature in enumerate(data.features):
        path = f"spec.data.features[{index}]"
        name = feature.name
        if name in seen:
            yield Problem(path, f"{name} is already features[{seen[name]}]", "keep one of them")
        seen.setdefault(name, index)
        if name == data.target:
            yield Problem(path, f"{name} is the target", "remove it from the features")
        elif name == data.label_time:
            yield Problem(
                path,
                f"{name} is the labelTime, which is not known when predicting",
                "remove it from the features",
            )
        elif name == data.event_time:
            yield Problem(path, f"{name} is the eventTime", "use timeFeatures instead")
        elif name in data.entity_key:
            yield Problem(
                path,
                f"{name} is in entityKey, which identifies a row and says nothing about the next",
                "remove it from one of them",
            )
        if name in data.time_features:
            yield Problem(path, f"{name} is also one of timeFeatures", "rename the column")


def texts_are_described_apart(data: Data) -> Iterator[Problem]:
    """No feature has the name of the number that is watched of a text or of a moment."""
    places = {feature.name: index for index, feature in enumerate(data.features)}
    watched = {one.name: describing(one.name) for one in data.features if one.type == "text"}
    for what, names in (("text", watched), ("timestamp", data.distances())):
        for column, name in names.items():
            if name in places:
                yield Problem(
                    f"spec.data.features[{places[name]}].name",
                    f"{name} is what is watched of the {what} {column}",
                    "rename the column",
                )


def lookups_can_be_made(data: Data) -> Iterator[Problem]:
    """``from: feast`` needs the source, keys that the client sends, and a time."""
    looked_up = {feature.name for feature in data.looked_up_features()}
    for index, feature in enumerate(data.features):
        if feature.source_ == "feast" and data.source.feast is None:
            yield Problem(
                f"spec.data.features[{index}].from",
                f"{feature.name} is looked up, but the source is not feast",
                "give source.feast, or remove from",
            )
    if looked_up and data.source.feast is not None:
        if not data.join_keys:
            yield Problem(
                "spec.data.joinKeys",
                f"is empty, and {_some(sorted(looked_up))} must be looked up",
                "name the columns of the Feast entity",
            )
        if data.event_time is None:
            yield Problem(
                "spec.data.eventTime",
                f"is missing, and {_some(sorted(looked_up))} must be joined point in time",
                "name the column of the prediction's moment",
            )
    for index, key in enumerate(data.join_keys):
        if key in looked_up:
            yield Problem(
                f"spec.data.joinKeys[{index}]",
                f"{key} is itself looked up",
                "let the client send it: remove its from: feast",
            )
        elif key == data.target:
            yield Problem(
                f"spec.data.joinKeys[{index}]",
                f"{key} is the target, which is not known when predicting",
                "join by another column",
            )


def vectors_are_sent_and_have_a_width(data: Data) -> Iterator[Problem]:
    """Only a vector or a text has a width, and both come with the request; a vector not by CSV."""
    for index, feature in enumerate(data.features):
        path = f"spec.data.features[{index}]"
        if feature.width is not None and feature.type not in ("vector", "text"):
            said = f"{feature.name} is {feature.type}, and width is of a vector or a text"
            yield Problem(f"{path}.width", said, "remove it, or write type: vector")
        if feature.type in _SENT and feature.source_ != "request":
            yield Problem(
                f"{path}.from",
                f"{feature.name} is a {feature.type}, and {feature.type}s are not looked up",
                "let the client send it: remove from",
            )
        elif feature.type == "vector" and data.source.csv is not None:
            yield Problem(
                f"{path}.type",
                f"{feature.name} is a vector, and a CSV file has no lists",
                "write the rows as Parquet, with a column of lists",
            )


_SENT: Final = ("vector", "text", "timestamp")


def what_is_asked_is_heeded(task: Any, data: Data) -> Iterator[Problem]:
    """Weights and monotone features are of families whose fits heed them."""
    family = described(task)
    if data.weight is not None and "weight" not in family.heeds:
        yield Problem("spec.data.weight", f"{family.name} counts all rows alike", "remove it")
    for index, feature in enumerate(data.features):
        if feature.monotone is None:
            continue
        path = f"spec.data.features[{index}].monotone"
        if "monotone" not in family.heeds:
            said = f"{family.name} can't be held to {feature.monotone}"
            yield Problem(path, said, "remove it")
        elif feature.type not in ("numeric", "boolean"):
            yield Problem(
                path,
                f"{feature.name} is {feature.type}, and only numbers rise and fall",
                "remove it, or make it numeric",
            )


def weights_are_a_column_of_their_own(data: Data) -> Iterator[Problem]:
    """The weight of a row is nothing else of it, and comes with the source alone."""
    path, name = "spec.data.weight", data.weight
    if name is None:
        return
    others: dict[str | None, str] = {
        **{one.name: "a feature" for one in data.features},
        **dict.fromkeys(data.join_keys, "in joinKeys"),
        **dict.fromkeys(data.entity_key, "in entityKey"),
        data.split.group_key: "the groupKey",
        data.label_time: "the labelTime",
        data.event_time: "the eventTime",
        data.target: "the target",
    }
    if name in others:
        yield Problem(path, f"{name} is {others[name]}", "name a column of weights alone")
    if data.served is not None:
        yield Problem(
            path,
            "rows that were served have no weight, as no request has one",
            "remove it, or spec.data.served",
        )


def keys_are_named_once(data: Data) -> Iterator[Problem]:
    """No name twice in a list of names, and no key that is the target or a time of the label."""
    yield from repeats("spec.data.timeFeatures", data.time_features)
    yield from repeats("spec.data.entityKey", data.entity_key)
    yield from repeats("spec.data.joinKeys", data.join_keys)
    for index, key in enumerate(data.entity_key):
        if key in (data.target, data.label_time):
            what = "target" if key == data.target else "labelTime"
            yield Problem(
                f"spec.data.entityKey[{index}]",
                f"{key} is the {what}, which is not known when predicting",
                "identify a row by what its request holds",
            )


def times_are_apart(data: Data) -> Iterator[Problem]:
    """Event time, label time and target are three columns, and time features need the first."""
    if data.time_features and data.event_time is None:
        yield Problem(
            "spec.data.timeFeatures",
            f"{_some(data.time_features)} can't be derived without an eventTime",
            "give eventTime, or remove timeFeatures",
        )
    if data.label_time is not None and data.event_time is None:
        yield Problem(
            "spec.data.labelTime",
            f"{data.label_time} is given without an eventTime",
            "give eventTime, or remove labelTime",
        )
    if data.label_time is not None and data.label_time == data.event_time:
        yield Problem(
            "spec.data.labelTime",
            f"{data.label_time} is also the eventTime",
            "name the column of when the label became known, or remove labelTime",
        )
    for key, column in (("eventTime", data.event_time), ("labelTime", data.label_time)):
        if column is not None and column == data.target:
            yield Problem(f"spec.data.{key}", f"{column} is the target", "name another column")


def the_split_has_its_column(data: Data) -> Iterator[Problem]:
    """Temporal needs a time, group needs a key, and neither takes what the other uses."""
    split = data.split
    if split.kind == "temporal" and data.event_time is None:
        yield Problem(
            "spec.data.split.kind",
            "temporal needs an eventTime",
            "give spec.data.eventTime, or choose stratified",
        )
    if split.kind == "group" and split.group_key is None:
        yield Problem(
            "spec.data.split.groupKey",
            "is missing, and kind is group",
            "name the column whose values stay together",
        )
    if split.kind != "group" and split.group_key is not None:
        yield Problem(
            "spec.data.split.groupKey",
            f"{split.group_key} is not used by kind {split.kind}",
            "choose kind group, or remove groupKey",
        )
    if split.group_key is not None and split.group_key == data.target:
        yield Problem(
            "spec.data.split.groupKey",
            f"{split.group_key} is the target",
            "name a column that is not predicted",
        )
    if split.gap and split.kind != "temporal":
        yield Problem(
            "spec.data.split.gap",
            f"{format_duration(split.gap)} is not used by kind {split.kind}",
            "choose kind temporal, or remove gap",
        )


def ranges_are_of_numbers(task: Any, data: Data) -> Iterator[Problem]:
    """A range is not of a text, and is not empty."""
    types = {feature.name: feature.type for feature in data.features}
    if data.target is not None:
        numeric = described(task).target == "number"
        types[data.target] = "numeric" if numeric else "categorical"
    for column, limits in data.validation.ranges.items():
        path = f"spec.data.validation.ranges.{column}"
        # Rows may hold more columns than the model reads; those are checked with the rows.
        if types.get(column, "numeric") != "numeric":
            yield Problem(path, f"{column} is {types[column]}, not numeric", "remove the range")
        if limits.min is None and limits.max is None:
            yield Problem(path, "has no limit", "give min, max or both")
        elif limits.min is not None and limits.max is not None and limits.min > limits.max:
            yield Problem(path, f"min {limits.min:g} is over max {limits.max:g}", "swap them")


def repeats(path: str, names: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for each name of a list that was there before."""
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"{path}[{index}]", f"{name} is there twice", "keep one of them")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


DATA_RULES: Final = (
    one_source_that_the_family_reads,
    csv_can_be_told_apart,
    features_are_no_answers,
    texts_are_described_apart,
    lookups_can_be_made,
    vectors_are_sent_and_have_a_width,
    what_is_asked_is_heeded,
    weights_are_a_column_of_their_own,
    keys_are_named_once,
    times_are_apart,
    the_split_has_its_column,
    ranges_are_of_numbers,
)
