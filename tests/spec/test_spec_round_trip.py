"""Any sound resource is written and read again as itself, as values, as JSON and as YAML."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noria.spec import parse_model
from noria.spec.families import describe
from noria.spec.monitoring import BACKENDS
from noria.spec.rules.monitoring import COLUMN_TYPES

PRINTED = st.characters(codec="utf-8", categories=("L", "N", "P", "S"))
COLUMN = st.text(PRINTED, min_size=1, max_size=12)
LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
DURATION = st.builds(
    lambda count, unit: f"{count}{unit}",
    st.integers(1, 300),
    st.sampled_from(["ms", "s", "m", "h"]),
)
SIZE = st.builds(
    lambda count, unit: f"{count}{unit}",
    st.integers(1, 5000),
    st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "Gi"]),
)
MESSAGE = st.builds(
    lambda count, unit: f"{count}{unit}",
    st.integers(1, 1000),
    st.sampled_from(["", "k", "M", "Ki", "Mi"]),
)
SHARE = st.floats(0, 1)
SCALAR = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(PRINTED, max_size=8),
)
SOURCES = st.one_of(
    st.builds(lambda paths: {"parquet": {"paths": paths}}, st.lists(COLUMN, min_size=1)),
    st.builds(lambda paths: {"csv": {"paths": paths}}, st.lists(COLUMN, min_size=1)),
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return mappings with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    family = draw(st.sampled_from(["tabular-classification", "tabular-regression"]))
    metrics = describe(family).metrics
    names = draw(st.lists(COLUMN, min_size=6, max_size=10, unique=True))
    target, event_time, label_time, entity, group, *columns = names
    types = {
        column: draw(st.sampled_from(["numeric", "categorical", "boolean"])) for column in columns
    }
    timed = draw(st.booleans())
    split = draw(st.sampled_from(["temporal"] * timed + ["stratified", "group"]))
    data: dict[str, Any] = {
        "source": draw(SOURCES),
        "features": [{"name": name, "type": kind} for name, kind in types.items()],
        "target": target,
        "entityKey": draw(st.sampled_from([[], [entity]])),
        "split": {"kind": split, "testFraction": draw(st.floats(0.01, 0.99))},
        "validation": draw(some(minRows=st.integers(1, 10**6), maxMissing=SHARE)),
    }
    if timed:
        data |= {"eventTime": event_time, "labelTime": draw(st.sampled_from([None, label_time]))}
        data["timeFeatures"] = draw(
            st.lists(st.sampled_from(["month", "day-of-week"]), unique=True)
        )
    if split == "group":
        data["split"]["groupKey"] = group
    on = draw(st.lists(st.sampled_from(["quality", "manual"]), unique=True))
    spec: dict[str, Any] = {
        "task": {"family": family},
        "data": data,
        "train": draw(
            some(
                algorithm=st.sampled_from(["hist-gradient-boosting", "lightgbm", "xgboost"]),
                hyperparameters=some(n_estimators=SCALAR, learning_rate=SCALAR),
                seed=st.integers(0, 2**31 - 1),
                refit=st.booleans(),
                compute=some(memory=SIZE, sharedMemory=SIZE, retries=st.integers(0, 10)),
            )
        ),
        "gates": draw(
            some(
                minRows=st.integers(1, 10**6),
                champion=st.just([{"metric": metrics[0], "maxDrop": draw(st.floats(-0.5, 0.5))}]),
            )
        ),
        "serving": draw(servings(metrics)),
        "monitoring": draw(monitorings(types)),
        "retraining": {
            "signals": on,
            "cooldown": draw(DURATION),
            "runsPerDay": draw(st.integers(bool(on), 10)),
            "budget": {"runs": draw(st.integers(bool(on), 99)), "per": "30d"},
        },
    }
    if draw(st.booleans()):
        spec["train"]["search"] = {
            "kind": draw(st.sampled_from(["none", "random", "bayesian"])),
            "timeout": "1m",
            "space": {"max_depth": {"low": 1, "high": draw(st.floats(1.5, 1e9)), "log": True}},
        }
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": draw(LABEL)},
        "spec": spec,
    }


@st.composite
def servings(draw: st.DrawFn, metrics: tuple[str, ...]) -> dict[str, Any]:
    steps = sorted(draw(st.sets(st.integers(1, 99), min_size=1, max_size=5)))
    latency = f"{draw(st.integers(400, 10_000))}ms"
    return {
        "maxRequestBytes": draw(MESSAGE),
        "batching": {"maxDelay": f"{draw(st.integers(0, 300))}ms"},
        "canary": {
            "steps": steps,
            "stepTimeout": draw(DURATION),
            "analysis": [
                {"metric": "error-rate", "max": draw(SHARE)},
                {"metric": "latency-p99", "max": latency, "maxDrop": draw(DURATION)},
                {"metric": metrics[0], "maxDrop": draw(st.floats(0, 0.9))},
            ],
        },
        "payloadLog": {"sample": draw(st.floats(0.001, 1))},
    }


@st.composite
def monitorings(draw: st.DrawFn, types: dict[str, str]) -> dict[str, Any]:
    backend = draw(st.sampled_from(["native", "alibi"]))
    fitting = [
        kind
        for kind in BACKENDS[backend]
        if kind != "model-uncertainty" and set(types.values()) & set(COLUMN_TYPES[kind])
    ]
    kinds = draw(st.lists(st.sampled_from(fitting), max_size=3, unique=True))
    return {
        "detectors": [
            {
                "name": f"d-{kind}",
                "kind": kind,
                "backend": backend,
                "columns": [name for name, held in types.items() if held in COLUMN_TYPES[kind]],
                "options": draw(st.dictionaries(st.text(PRINTED, max_size=5), SCALAR, max_size=2)),
            }
            for kind in kinds
        ],
        "window": {"rows": draw(st.integers(100, 10_000))},
    }


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(models())
def test_a_sound_resource_is_written_and_read_as_itself(raw: dict[str, Any]) -> None:
    model = parse_model(raw)
    written = model.model_dump(by_alias=True, mode="json")
    assert parse_model(written) == model
    assert parse_model(json.dumps(written, ensure_ascii=False)) == model
    assert parse_model(yaml.safe_dump(written, allow_unicode=True)) == model
    again = parse_model(written).model_dump(by_alias=True, mode="json")
    assert again == written
