"""A whole resource to change one key of, and a reader of the JSON Schema that Noria writes."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

WHOLE: dict[str, Any] = {
    "apiVersion": "noria.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": "flights", "namespace": "", "labels": {}, "annotations": {}},
    "spec": {
        "task": {"family": "tabular-classification", "options": {"calibration": "isotonic"}},
        "data": {
            "module": "data.py",
            "source": {
                "feast": {
                    "repository": "../../feature_repo",
                    "service": "flight_delay",
                    "rows": "data/flights.parquet",
                }
            },
            "features": [
                {"name": "carrier", "type": "categorical"},
                {"name": "distance", "type": "numeric"},
                {"name": "weekend", "type": "boolean"},
                {"name": "temp", "type": "numeric", "from": "feast"},
            ],
            "timeFeatures": ["minute-of-day", "day-of-week"],
            "target": "late",
            "eventTime": "scheduled",
            "labelTime": "landed",
            "entityKey": ["flight_id"],
            "joinKeys": ["origin"],
            "split": {"kind": "temporal", "testFraction": 0.2, "gap": "0s", "groupKey": None},
            "validation": {
                "minRows": 1000,
                "maxMissing": 0.2,
                "ranges": {"distance": {"min": 0, "max": 6000}},
            },
        },
        "train": {
            "algorithm": "lightgbm",
            "hyperparameters": {"n_estimators": 150},
            "search": {
                "kind": "none",
                "metric": "auc",
                "space": {
                    "learning_rate": {"low": 0.01, "high": 0.3, "log": True},
                    "num_leaves": {"choices": [15, 31]},
                },
            },
            "crossValidation": {"kind": "temporal", "folds": 3},
            "ensemble": {"kind": "none", "members": []},
            "seed": 0,
            "refit": True,
            "compute": {"cpu": "2", "memory": "4Gi", "gpu": {"product": "", "count": 0}},
        },
        "gates": {
            "minRows": 500,
            "bounds": [{"metric": "auc", "min": 0.55}],
            "champion": [{"metric": "auc", "maxDrop": 0.0, "confidence": 0.95}],
        },
        "serving": {
            "protocols": ["rest", "grpc"],
            "batching": {"maxRows": 256, "maxDelay": "2ms"},
            "maxRequestBytes": "16Mi",
            "canary": {
                "steps": [10, 50],
                "minSamples": 500,
                "stepTimeout": "24h",
                "analysis": [
                    {"metric": "error-rate", "max": 0.01},
                    {"metric": "latency-p99", "max": "250ms"},
                    {"metric": "auc", "maxDrop": 0.05},
                ],
                "sticky": False,
            },
            "shadow": {"percent": 0},
            "payloadLog": {"sample": 1.0, "redact": []},
        },
        "monitoring": {
            "window": {"rows": 1000},
            "referenceRows": 10000,
            "falseAlarmBudget": {"probability": 0.05, "horizon": 24},
            "detectors": [
                {"name": "features", "kind": "tabular", "watch": "features"},
                {"name": "prediction", "kind": "ks", "watch": "prediction"},
            ],
            "performance": {
                "metrics": ["auc", "log-loss", "accuracy"],
                "drop": {"metric": "auc", "max": 0.03},
                "maxLabelLag": "48h",
            },
        },
        "retraining": {
            "signals": ["drift", "performance"],
            "newData": {"growth": 0.5},
            "schedule": None,
            "cooldown": "7d",
            "runsPerDay": 1,
            "budget": {"runs": 6, "per": "365d"},
            "trainOn": {"kind": "all", "window": None},
            "giveUpAfter": 3,
        },
    },
}

SMALLEST: dict[str, Any] = {
    "apiVersion": "noria.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": "late"},
    "spec": {
        "task": {"family": "tabular-classification"},
        "data": {
            "source": {"parquet": {"paths": ["data/*.parquet"]}},
            "features": [{"name": "distance", "type": "numeric"}],
            "target": "late",
        },
    },
}

REMOVED = object()
"""Stands for a key that is taken away."""


def with_paths(
    base: Mapping[str, Any], changes: Mapping[str, Any], *, gone: object = REMOVED
) -> dict[str, Any]:
    """Return a copy of a resource with paths below ``spec`` set, such as ``data.features.0.name``.

    A key whose value is ``gone`` is taken away.
    """
    copied = copy.deepcopy(dict(base))
    for path, value in changes.items():
        *parents, last = path.split(".")
        here: Any = copied["spec"]
        for parent in parents:
            here = here[int(parent)] if parent.isdigit() else here.setdefault(parent, {})
        key: Any = int(last) if last.isdigit() else last
        if value == gone:
            del here[key]
        else:
            here[key] = copy.deepcopy(value)
    return copied


@pytest.fixture
def whole() -> dict[str, Any]:
    return copy.deepcopy(WHOLE)


@pytest.fixture
def smallest() -> dict[str, Any]:
    return copy.deepcopy(SMALLEST)


@pytest.fixture
def edit() -> Callable[..., dict[str, Any]]:
    return with_paths


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_NOTES = {"$schema", "$id", "$defs", "description", "default", "examples"}


def schema_errors(node: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a value breaks a JSON Schema; an unknown keyword is an error of the test."""
    for key, rule in node.items():
        if key in _NOTES:
            continue
        yield from _KEYWORDS[key](node, rule, value, root)


def _ref(node: Any, rule: str, value: Any, root: Any) -> Iterator[str]:
    yield from schema_errors(root["$defs"][rule.rpartition("/")[2]], value, root)


def _type(node: Any, rule: Any, value: Any, root: Any) -> Iterator[str]:
    kinds = [rule] if isinstance(rule, str) else rule
    if not any(
        isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        for kind in kinds
    ):
        yield f"{value!r} is no {rule}"


def _properties(node: Any, rule: Any, value: Any, root: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in rule.items():
            if key in value:
                yield from schema_errors(child, value[key], root)


def _additional(node: Any, rule: Any, value: Any, root: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key in value.keys() - node.get("properties", {}).keys():
            if rule is False:
                yield f"{key} is unknown"
            elif rule is not True:
                yield from schema_errors(rule, value[key], root)


def _names(node: Any, rule: Any, value: Any, root: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key in value:
            yield from schema_errors(rule, key, root)


def _required(node: Any, rule: Any, value: Any, root: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{key} is missing" for key in rule if key not in value)


def _items(node: Any, rule: Any, value: Any, root: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from schema_errors(rule, item, root)


def _of(least: int, most: float) -> Any:
    def check(node: Any, rule: Any, value: Any, root: Any) -> Iterator[str]:
        fitting = sum(1 for choice in rule if not list(schema_errors(choice, value, root)))
        if not least <= fitting <= most:
            yield f"{value!r} fits {fitting} of {len(rule)}"

    return check


def _compare(applies: tuple[type, ...], broken: Callable[[Any, Any], bool]) -> Any:
    def check(node: Any, rule: Any, value: Any, root: Any) -> Iterator[str]:
        if isinstance(value, applies) and not isinstance(value, bool) and broken(value, rule):
            yield f"{value!r} breaks {rule!r}"

    return check


_NUMBER = (int, float)
_KEYWORDS: dict[str, Any] = {
    "$ref": _ref,
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "required": _required,
    "items": _items,
    "oneOf": _of(1, 1),
    "anyOf": _of(1, float("inf")),
    "enum": _compare((object,), lambda value, rule: value not in rule),
    "const": _compare((object,), lambda value, rule: value != rule),
    "pattern": _compare((str,), lambda value, rule: not re.search(rule, value)),
    "minLength": _compare((str,), lambda value, rule: len(value) < rule),
    "maxLength": _compare((str,), lambda value, rule: len(value) > rule),
    "maxProperties": _compare((dict,), lambda value, rule: len(value) > rule),
    "minItems": _compare((list,), lambda value, rule: len(value) < rule),
    "maxItems": _compare((list,), lambda value, rule: len(value) > rule),
    "minimum": _compare(_NUMBER, lambda value, rule: value < rule),
    "maximum": _compare(_NUMBER, lambda value, rule: value > rule),
    "exclusiveMinimum": _compare(_NUMBER, lambda value, rule: value <= rule),
    "exclusiveMaximum": _compare(_NUMBER, lambda value, rule: value >= rule),
}


@pytest.fixture
def broken() -> Callable[[dict[str, Any], Any], list[str]]:
    return lambda schema, value: list(schema_errors(schema, value, schema))
