"""Timestamps as features: their parts, the days before the event, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring.config import MonitorConfig
from monitoring.reference import read_folder, read_reference
from noria.errors import DataError, LeakageError
from noria.spec import parse_model
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.encoding import Encoder
from noria.tasks.families import family
from noria.tasks.package import Feature, Input, load_predictor
from noria.tasks.protocol import ValidationReport

DAY = pd.Timedelta(days=1)


def orders(count: int = 400) -> pd.DataFrame:
    """Orders of customers who came back more seldom the longer they have been there."""
    rng = np.random.default_rng(0)
    at = pd.date_range("2024-01-01", periods=count, freq="3h", tz="UTC")
    age = rng.integers(0, 1000, count)
    hours = pd.to_timedelta(rng.integers(0, 24, count), unit="h")
    joined = pd.Series(at - pd.to_timedelta(age, unit="D") - hours)
    joined[::20] = pd.NaT
    return pd.DataFrame(
        {
            "at": at,
            "joined": joined,
            "size": rng.random(count),
            "again": 10.0 - age / 100 + rng.normal(0.0, 0.5, count),
        }
    )


def model_of(event_time: str | None = "at", source: str = "parquet") -> Any:
    data: dict[str, Any] = {
        "source": {source: {"paths": [f"rows.{source}"]}},
        "features": [
            {"name": "joined", "type": "timestamp"},
            {"name": "size", "type": "numeric"},
        ],
        "target": "again",
        "validation": {"minRows": 100},
    }
    if event_time is not None:
        data["eventTime"] = event_time
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "orders"},
            "spec": {
                "task": {"family": "tabular-regression"},
                "data": data,
                "train": {"hyperparameters": {"n_estimators": 30}},
            },
        }
    )


def made_of(
    tmp_path: Path, frame: pd.DataFrame, event_time: str | None = "at"
) -> tuple[Made, ValidationReport]:
    spec = model_of(event_time).spec
    frame.to_parquet(tmp_path / "rows.parquet")
    tasks = family(spec.task.family)
    rows = tasks.ingest(spec, tmp_path, None)
    report = tasks.validate(spec, rows)
    frame = tasks.features(spec, tmp_path, rows)
    return make_candidate(tasks, spec, frame, None, tmp_path / "made", model="orders"), report


def test_a_moment_becomes_its_parts_and_the_days_before_the_event() -> None:
    encoder = Encoder((Feature("joined", "timestamp", width=5),), "at")
    moments = np.array(
        ["2024-02-29T23:30", "1969-12-31T00:00", "2026-12-01T12:00", "NaT"], "datetime64[ms]"
    )
    event = np.full(4, "2024-03-01T11:30", "datetime64[ms]")
    found = encoder.encode({"joined": moments, "at": event})
    # Year, month, day of the week (Monday is 0), hour; days: a calendar says so.
    np.testing.assert_array_equal(found[0], [2024, 2, 3, 23, 0.5])
    np.testing.assert_array_equal(found[1, :4], [1969, 12, 2, 0])
    assert found[1, 4] == pytest.approx(19_783 + 1 + 11.5 / 24)
    np.testing.assert_array_equal(found[2], [2026, 12, 1, 12, -(1005 + 0.5 / 24)])
    assert np.isnan(found[3]).all()
    without = Encoder((Feature("joined", "timestamp", width=4),), None)
    np.testing.assert_array_equal(without.encode({"joined": moments})[:3], found[:3, :4])


def test_a_model_learns_from_the_days_before_the_event(tmp_path: Path) -> None:
    frame = orders()
    made, _ = made_of(tmp_path, frame)
    assert made.evaluation.metrics["r2"].value > 0.85
    assert made.manifest.inputs[0] == Input("joined", "INT64", "timestamp")
    assert made.manifest.inputs[2] == Input("at", "INT64", "timestamp")
    predictor = load_predictor(made.package)
    at = pd.Timestamp("2024-02-10", tz="UTC")
    days = np.array([10, 900])
    asked: dict[str, np.ndarray[Any, Any]] = {
        "joined": int(at.timestamp() * 1000) - days * 86_400_000,
        "at": np.full(2, int(at.timestamp() * 1000)),
        "size": np.full(2, 0.5),
    }
    new, old = predictor.predict(asked)["prediction"]
    assert new > 8.5
    assert old < 2.5
    np.testing.assert_array_equal(predictor.describe(asked)["joined.days"], days)


def test_without_an_event_time_the_parts_alone_are_read(tmp_path: Path) -> None:
    made, _ = made_of(tmp_path, orders(), None)
    assert made.manifest.features[0] == Feature("joined", "timestamp", width=4)
    assert [one.name for one in made.manifest.features] == ["joined", "size"]
    predictor = load_predictor(made.package)
    said = predictor.predict({"joined": np.zeros(1, np.int64), "size": np.ones(1)})
    assert np.isfinite(said["prediction"]).all()


def test_the_monitor_watches_the_days_and_not_the_date(tmp_path: Path) -> None:
    frame = orders()
    made, _ = made_of(tmp_path, frame)
    reference = read_reference(read_folder(made.reference))
    assert sorted(reference.features.columns) == ["joined.days", "size"]
    days = reference.features.columns["joined.days"]
    np.testing.assert_allclose(
        np.sort(days[~np.isnan(days)]), np.sort(((frame["at"] - frame["joined"]) / DAY).dropna())
    )
    assert np.isnan(days).mean() == 0.05
    config = MonitorConfig.from_model(model_of())
    assert dict(config.features) == {"size": "numeric", "joined.days": "numeric"}
    assert config.inputs == ("size",)
    assert dict(MonitorConfig.from_model(model_of(None)).features) == {"size": "numeric"}


def test_a_moment_after_its_event_is_said(tmp_path: Path) -> None:
    frame = orders()
    frame.loc[[3, 5], "joined"] = frame.loc[[3, 5], "at"] + pd.Timedelta(hours=2)
    _, report = made_of(tmp_path, frame)
    (found,) = [one.detail for one in report.checks if one.name == "leakage.joined"]
    assert found.startswith(
        "joined is later than at in 0.5% of the rows, first 2024-01-01T11:00:00+00:00 at "
        "2024-01-01T09:00:00+00:00: if it is not known"
    )


def test_a_moment_that_gives_the_answer_away_is_refused(tmp_path: Path) -> None:
    frame = orders(4000)
    frame["joined"] = pd.Timestamp("2024-06-01", tz="UTC") + pd.to_timedelta(
        frame["again"], unit="D"
    )
    with pytest.raises(LeakageError, match="joined alone predicts the target"):
        made_of(tmp_path, frame)


def test_what_is_no_moment_is_named_with_row_and_value(tmp_path: Path) -> None:
    frame = orders()
    frame["joined"] = frame["joined"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    frame.loc[7, "joined"] = "last week"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    spec = model_of(source="csv").spec
    with pytest.raises(DataError, match=r"column joined: row 8: 'last week'"):
        family(spec.task.family).ingest(spec, tmp_path, None)


def test_of_moments_alone_without_an_event_time_the_prediction_is_watched() -> None:
    model = model_of(None)
    alone = model.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    alone["data"]["features"] = [{"name": "joined", "type": "timestamp"}]
    alone.pop("monitoring", None)
    found = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "orders"},
            "spec": alone,
        }
    )
    assert [one.watch for one in found.spec.monitoring.detectors] == ["prediction"]
