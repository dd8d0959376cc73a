"""What a sound resource says: values, defaults that depend on the family, helpers."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

import noria.spec
from noria.spec import METRICS, Model, cpu_count, parse_model
from noria.spec.families import installed

FAMILIES = installed().names


def test_a_whole_resource_is_read_into_values_with_units(whole: dict[str, Any]) -> None:
    spec = parse_model(whole).spec
    assert spec.train.compute.memory == 4 * 2**30
    assert cpu_count(spec.train.compute.cpu) == 2.0
    assert spec.serving.max_request_bytes == 16 * 2**20
    assert spec.serving.batching.max_delay == timedelta(milliseconds=2)
    assert spec.serving.canary.step_timeout == timedelta(days=1)
    assert spec.serving.canary.analysis[1].max == 0.25
    assert spec.retraining.budget.per == timedelta(days=365)
    assert spec.data.source.kind == "feast"
    assert spec.train.search.space["num_leaves"].choices == (15, 31)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_installed_family_validates_with_defaults_of_its_own(
    smallest: dict[str, Any], family: str
) -> None:
    smallest["spec"]["task"] = {"family": family}
    if family in ("forecasting", "recommendation"):
        del smallest["spec"]["data"]["features"]
        smallest["spec"]["data"]["eventTime"] = "day"
    if family == "image-classification":
        del smallest["spec"]["data"]["features"]
    if family in ("clustering", "multi-label"):
        del smallest["spec"]["data"]["target"]
    if family == "multi-label":
        smallest["spec"]["task"]["options"] = {"labels": ["late", "cancelled"]}
    if family == "recommendation":
        smallest["spec"]["data"]["entityKey"] = ["user"]
    spec = parse_model(smallest).spec
    own = list(spec.family.metrics)
    watched = [metric.name for metric in spec.watched_metrics]
    assert [gate.metric for gate in spec.gates.champion] == own[:1]
    assert spec.train.search.metric == own[0]
    assert list(spec.monitoring.performance.metrics) == watched
    drop = spec.monitoring.performance.drop
    # What has no interval, or no labels, is no performance that could drop.
    judging = [metric.name for metric in spec.watched_metrics if metric.judges]
    assert (None if drop is None else drop.metric) == (judging[0] if judging else None)
    assert (drop is None) == (family == "clustering")
    assert ("new-data" in spec.retraining.signals) == (family != "clustering")
    assert watched == own or family in ("anomaly-detection", "clustering", "forecasting")
    assert ("drift" in spec.retraining.signals) == bool(spec.monitoring.detectors)
    classes = ("custom", "image-classification", "tabular-classification")
    assert spec.is_classification == (family in classes)


def test_what_the_user_wrote_is_kept_even_when_it_is_empty(
    smallest: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    spec = parse_model(
        edit(
            smallest,
            {
                "gates": {"champion": [], "bounds": [{"metric": "f1", "min": 0.5}]},
                "monitoring": {"detectors": [], "performance": {"drop": None}},
            },
        )
    ).spec
    assert spec.gates.champion == ()
    assert spec.monitoring.detectors == ()
    assert spec.monitoring.performance.drop is None
    assert spec.retraining.signals == ("new-data",)


def test_the_split_follows_the_time_that_there_is(
    smallest: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    without = parse_model(smallest).spec
    assert (without.data.split.kind, without.train.cross_validation.kind) == ("stratified",) * 2
    timed = parse_model(edit(smallest, {"data.eventTime": "at"})).spec
    assert (timed.data.split.kind, timed.train.cross_validation.kind) == ("temporal",) * 2


def test_a_drop_watches_a_metric_that_is_measured(
    smallest: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    spec = parse_model(edit(smallest, {"monitoring.performance.metrics": ["f1", "brier"]})).spec
    assert spec.monitoring.performance.drop is not None
    assert spec.monitoring.performance.drop.metric == "f1"


def test_a_client_sends_each_column_once_and_never_a_looked_up_one(
    whole: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    data = parse_model(edit(whole, {"data.joinKeys": ["carrier", "origin"]})).spec.data
    assert data.request_columns() == (
        "carrier",
        "distance",
        "weekend",
        "scheduled",
        "flight_id",
        "origin",
    )
    assert [feature.name for feature in data.looked_up_features()] == ["temp"]
    assert data.feature_names() == (
        "carrier",
        "distance",
        "weekend",
        "temp",
        "minute-of-day",
        "day-of-week",
    )


def test_metrics_know_their_direction() -> None:
    assert METRICS["auc"].greater_is_better
    assert METRICS["r2"].greater_is_better
    assert not METRICS["log-loss"].greater_is_better
    assert not METRICS["latency-p99"].greater_is_better
    assert METRICS["error-rate"].is_serving
    assert not METRICS["auc"].is_serving


def test_a_model_can_not_be_changed(whole: dict[str, Any]) -> None:
    model = parse_model(whole)
    with pytest.raises(ValidationError, match="frozen"):
        model.spec.serving.canary.sticky = True  # type: ignore[misc]


def test_reading_a_mapping_leaves_it_as_it_was(smallest: dict[str, Any]) -> None:
    before = copy.deepcopy(smallest)
    parse_model(smallest)
    assert smallest == before


def test_python_may_use_its_own_names() -> None:
    canary = noria.spec.Canary(steps=(5, 25), min_samples=10, step_timeout=timedelta(hours=1))
    assert canary.model_dump(mode="json", by_alias=True)["stepTimeout"] == "1h"
    feature = noria.spec.Feature(name="temp", type="numeric", source_="feast")
    assert feature.model_dump(by_alias=True)["from"] == "feast"


@pytest.mark.parametrize(
    ("written", "read", "short"),
    [
        ("0s", timedelta(0), "0s"),
        ("1500ms", timedelta(seconds=1.5), "1500ms"),
        ("60s", timedelta(minutes=1), "1m"),
        ("90m", timedelta(minutes=90), "90m"),
        ("48h", timedelta(days=2), "2d"),
        ("36500d", timedelta(days=36500), "36500d"),
    ],
)
def test_a_duration_is_written_in_its_short_form(
    smallest: dict[str, Any],
    edit: Callable[..., dict[str, Any]],
    written: str,
    read: timedelta,
    short: str,
) -> None:
    budget = {"per": "36500d"}
    model = parse_model(edit(smallest, {"retraining": {"cooldown": written, "budget": budget}}))
    assert model.spec.retraining.cooldown == read
    assert _dump(model)["spec"]["retraining"]["cooldown"] == short


@pytest.mark.parametrize(
    ("written", "read", "short"),
    [
        ("1024", 1024, "1Ki"),
        (1024, 1024, "1Ki"),
        ("4Gi", 4 << 30, "4Gi"),
        ("500M", 500_000_000, "500M"),
        ("1023", 1023, "1023"),
    ],
)
def test_a_size_is_written_in_its_short_form(
    smallest: dict[str, Any],
    edit: Callable[..., dict[str, Any]],
    written: object,
    read: int,
    short: str,
) -> None:
    model = parse_model(edit(smallest, {"train.compute.memory": written}))
    assert model.spec.train.compute.memory == read
    assert _dump(model)["spec"]["train"]["compute"]["memory"] == short


def test_everything_that_is_exported_is_there() -> None:
    assert all(hasattr(noria.spec, name) for name in noria.spec.__all__)


def test_importing_the_spec_loads_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "numpy", "mlflow", "kfp", "yaml")
    script = f"import sys, noria.spec; print(*(n for n in {heavy} if n in sys.modules))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def _dump(model: Model) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost", "hist-gradient-boosting", "linear"])
@pytest.mark.parametrize("kind", ["random", "bayesian", "grid"])
@pytest.mark.parametrize("family", ["tabular-classification", "tabular-regression"])
def test_a_search_and_a_stack_are_switched_on_alone(
    smallest: dict[str, Any], algorithm: str, kind: str, family: str
) -> None:
    smallest["spec"]["task"] = {"family": family}
    smallest["spec"]["train"] = {
        "algorithm": algorithm,
        "search": {"kind": kind},
        "ensemble": {"kind": "stacking"},
    }
    train = parse_model(smallest).spec.train
    assert train.search.space
    assert train.ensemble.members[0] == algorithm
    assert len(set(train.ensemble.members)) == 2


def test_what_is_fixed_is_not_searched_under_another_name(smallest: dict[str, Any]) -> None:
    smallest["spec"]["train"] = {
        "hyperparameters": {"eta": 0.1, "max_leaves": 31},
        "search": {"kind": "bayesian"},
    }
    space = parse_model(smallest).spec.train.search.space
    assert set(space) == {"min_child_samples", "feature_fraction", "lambda_l2"}


@pytest.mark.parametrize(
    ("metrics", "written", "limit"),
    [
        (["r2"], {}, 0.03),
        (["mae"], {}, "10%"),
        (["mae"], {"max": 2.5}, 2.5),
        (["rmse", "r2"], {"metric": "r2"}, 0.03),
        (["r2", "rmse"], {"metric": "rmse"}, "10%"),
    ],
)
def test_a_drop_is_a_share_where_the_metric_has_no_scale_of_its_own(
    smallest: dict[str, Any], metrics: list[str], written: dict[str, Any], limit: object
) -> None:
    options = {"predicts": "number", "metrics": metrics}
    smallest["spec"]["task"] = {"family": "custom", "options": options}
    if written:
        smallest["spec"]["monitoring"] = {"performance": {"drop": written}}
    drop = parse_model(smallest).spec.monitoring.performance.drop
    assert drop is not None
    assert drop.max == limit
