"""A monitor's configuration as a file: what the operator takes from a ``Model`` and hands over.

A monitor that gets it need not have the model's task family installed. Only a metric of the
family's own has a function there, and where that can't be had the metric is not measured, which
``MonitorConfig.missing`` says; all the rest is watched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final, Never, get_type_hints

import msgspec

from monitoring.config import MonitorConfig
from noria.errors import InvalidInput
from noria.measures.catalog import Metric, OwnMetric
from noria.spec import Family, Model, Section
from noria.spec.families import describe

MAX_BYTES: Final = 4 << 20
_MOST_WORDS: Final = 300
_FIELDS: Final = tuple(
    field.name for field in fields(MonitorConfig) if field.name not in ("family", "missing")
)


class _Own(msgspec.Struct, frozen=True):
    """A family's own metric without its function; ``whole``: it is of all samples together."""

    metric: Metric
    whole: bool
    floor: float | None = None


class _Family(msgspec.Struct, frozen=True):
    name: str
    options: dict[str, Any]
    metrics: tuple[str, ...]
    own: tuple[_Own, ...]


class _Written(msgspec.Struct, frozen=True):
    family: _Family
    watched: dict[str, Any]


def write(model: Model) -> str:
    """Return the configuration of a model's monitor, as JSON; the same for the same."""
    config, family = MonitorConfig.from_model(model), model.spec.family
    plain = [field.name for field in fields(Metric)]
    own = (
        _Own(
            Metric(**{name: getattr(one, name) for name in plain}),
            one.per_sample is None,
            one.floor,
        )
        for one in family.own_metrics
    )
    options = model.spec.task.options.model_dump(mode="json", by_alias=True)
    written = _Written(
        _Family(family.name, options, family.metrics, tuple(own)),
        {name: getattr(config, name) for name in _FIELDS},
    )
    return msgspec.json.encode(written, order="sorted").decode()


def read(path: Path) -> MonitorConfig:
    """Read what ``write`` gave.

    Raises:
        InvalidInput: The file can't be read, or is another release's.
    """
    try:
        with path.open("rb") as file:
            body = file.read(MAX_BYTES)
        said = msgspec.json.decode(body, type=_Written)
        types = get_type_hints(MonitorConfig)
        watched = {name: msgspec.convert(said.watched[name], types[name]) for name in _FIELDS}
    except OSError as error:
        raise InvalidInput(f"{path}: can't be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, KeyError) as error:
        raise InvalidInput(
            f"{path}: is no configuration of this release's monitor: {error}",
            fix="let the operator and the monitor be of one release",
        ) from error
    found, why = _here(said.family)
    functions = {one.name: one.per_sample or one.whole for one in found}
    missing = {
        one.metric.name: why or f"family {said.family.name}, as it is here, has no such metric"
        for one in said.family.own
        if one.metric.name not in functions
    }
    family = Family(
        name=said.family.name,
        about="",
        options=Section,
        algorithms=(),
        metrics=said.family.metrics,
        own_metrics=tuple(_whole(one, functions, missing) for one in said.family.own),
        learner="",
        template="",
    )
    return MonitorConfig(family=family, missing=missing, **watched)


def _here(said: _Family) -> tuple[tuple[OwnMetric, ...], str]:
    """Return the metrics that the family brings here, or why there are none."""
    if not said.own:
        return (), ""
    try:
        family = describe(said.name)
        options = family.options.model_validate(said.options, by_alias=True, by_name=False)
        return family.of(options).own_metrics, ""
    except InvalidInput as error:
        return (), error.message.removeprefix("spec.task.family: ")
    except Exception as error:  # noqa: BLE001 - a plug-in's code may raise anything
        return (), f"family {said.name} can't be used here: {error}"[:_MOST_WORDS]


def _whole(said: _Own, functions: Mapping[str, Any], missing: Mapping[str, str]) -> OwnMetric:
    """Return a metric with its function; with one that says why it can't be had, without."""
    name = said.metric.name

    def nothing(truth: object, prediction: object) -> Never:
        del truth, prediction
        raise InvalidInput(f"metric {name}: {missing[name]}")

    function = functions.get(name, nothing)
    kind = "whole" if said.whole else "per_sample"
    return OwnMetric(**asdict(said.metric), floor=said.floor, **{kind: function})
