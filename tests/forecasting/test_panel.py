"""Long tables as series, and series as samples to learn from and to ask about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import DataError
from noria.spec import ModelSpec, parse_model
from noria.tasks.forecasting.describe import options_of
from noria.tasks.forecasting.family import LEARNER
from noria.tasks.forecasting.panel import requests_of, samples_of, series_of

OPTIONS: dict[str, Any] = {"step": "day", "season": 7, "horizon": 3}


def spec_of(
    options: dict[str, Any] | None = None, train: dict[str, Any] | None = None, **data: Any
) -> ModelSpec:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "depots"},
            "spec": {
                "task": {"family": "forecasting", "options": {**OPTIONS, **(options or {})}},
                "data": {
                    "source": {"csv": {"paths": ["rows.csv"]}},
                    "entityKey": ["depot"],
                    "eventTime": "day",
                    "target": "parcels",
                    "validation": {"minRows": 1},
                    **data,
                },
                "train": train or {},
            },
        }
    ).spec


def rows_of(**series: dict[int, float]) -> pd.DataFrame:
    """Return the long table of series, each a value by day of 2026."""
    start = pd.Timestamp("2026-01-01", tz="UTC")
    found = [
        (name, start + pd.Timedelta(days=day), value)
        for name, values in series.items()
        for day, value in values.items()
    ]
    rows = pd.DataFrame(found, columns=["depot", "day", "parcels"])
    return rows.assign(day=rows["day"].astype("datetime64[us, UTC]")).sample(frac=1, random_state=0)


def run(days: int, start: int = 0) -> dict[int, float]:
    return {day: float(day) for day in range(start, start + days)}


def test_series_start_and_end_where_their_values_do() -> None:
    spec = spec_of()
    found = series_of(spec, options_of(spec), rows_of(b=run(4, 10), a=run(3)))
    assert [one.key for one in found] == [("a",), ("b",)]
    assert found[1].first - found[0].first == 10
    assert found[1].values.tolist() == [10.0, 11.0, 12.0, 13.0]


@pytest.mark.parametrize(
    ("rows", "options", "message", "fix"),
    [
        (
            pd.concat([rows_of(a=run(9)), rows_of(a={4: 5.0})]),
            {},
            "series 'a' has two values in one day, at 2026-01-05 00:00 and 2026-01-05 00:00",
            "entityKey",
        ),
        (rows_of(a={**run(9), 3: np.inf}), {}, "parcels is inf in series 'a'", "finite"),
        (
            rows_of(a=dict.fromkeys(range(0, 70, 7), 1.0)),
            {},
            "leaves 54 of 64 steps of a day without a value",
            "write step: 7 days",
        ),
        (
            rows_of(a={**run(8), **run(9, 9)}),
            {"gaps": "refuse"},
            "leaves 1 of 18 steps of a day without a value, the most in series 'a': 1, the first",
            "gaps: zero",
        ),
    ],
)
def test_a_table_that_is_no_series_is_refused_with_place_and_fix(
    rows: pd.DataFrame, options: dict[str, Any], message: str, fix: str
) -> None:
    with pytest.raises(DataError) as refused:
        LEARNER.validate(spec_of(options), rows)
    assert message in str(refused.value)
    assert fix in str(refused.value.fix)


def test_values_beyond_their_range_are_refused() -> None:
    spec = spec_of(validation={"minRows": 1, "ranges": {"parcels": {"min": 0, "max": 50}}})
    LEARNER.validate(spec, rows_of(a=run(20)))
    with pytest.raises(DataError, match=r"2 values lie beyond 50.0, the first is 5[12]"):
        LEARNER.validate(spec, rows_of(a={**run(20), 20: 51.0, 21: 52.0}))


def test_samples_hold_what_was_known_at_the_origin_and_what_came_after() -> None:
    spec = spec_of({"origins": 2, "history": 14})
    samples = samples_of(
        spec, options_of(spec), series_of(spec, options_of(spec), rows_of(a=run(40)))
    )
    _, sample = samples.to_dict("records")
    assert sample["history"].tolist() == [float(day) for day in range(23, 37)]
    assert [sample[name] for name in ("t+1", "t+2", "t+3")] == [37.0, 38.0, 39.0]
    assert sample["day"] == pd.Timestamp("2026-02-06", tz="UTC")
    assert sample["__label_known"] == pd.Timestamp("2026-02-09", tz="UTC")


def test_origins_come_at_every_place_of_the_season_and_forecasts_share_no_value() -> None:
    spec = spec_of({"season": 7, "horizon": 14, "origins": 8})
    many = {f"s{number}": run(300) for number in range(80)}
    samples = samples_of(spec, options_of(spec), series_of(spec, options_of(spec), rows_of(**many)))
    origins = np.sort(samples.loc[samples["depot"] == "s0", "day"].to_numpy("datetime64[D]"))
    apart = np.diff(origins).astype(int)
    assert len(origins) == 8
    assert apart.min() >= 14
    assert {int(day) for day in origins.astype(int) % 7} == set(range(7))


def test_gaps_are_no_futures_and_zeros_are() -> None:
    rows = rows_of(a={day: 1.0 for day in range(60) if day != 50})
    for gaps, expected in (("interpolate", False), ("zero", True)):
        spec = spec_of({"gaps": gaps, "origins": 50})
        series = series_of(spec, options_of(spec), rows)
        samples = samples_of(spec, options_of(spec), series)
        futures = samples[["t+1", "t+2", "t+3"]].to_numpy()
        assert not np.isnan(futures).any()
        assert (futures == 0.0).any() == expected


def test_a_new_series_is_left_out_of_training_and_an_ended_one_is_kept() -> None:
    rows = rows_of(new=run(5, 55), old=run(30), whole=run(60))
    spec = spec_of()
    series = series_of(spec, options_of(spec), rows)
    assert set(samples_of(spec, options_of(spec), series)["depot"]) == {"old", "whole"}
    report = LEARNER.validate(spec, rows)
    said = {check.name: check.detail for check in report.checks}
    assert said["too short"].startswith("1 of 3 series have fewer than 11 values")
    assert "'new'" in said["too short"]
    with pytest.raises(DataError, match="the longest of 1 series has 5 values"):
        samples_of(spec, options_of(spec), [one for one in series if one.key == ("new",)])


def test_requests_are_asked_at_every_origin_and_know_of_the_future_what_there_is() -> None:
    spec = spec_of({"history": 14})
    rows = rows_of(a={day: float(day) for day in range(30) if day != 20})
    first = pd.Timestamp("2026-01-18", tz="UTC").timestamp() * 1000
    series = series_of(spec, options_of(spec), rows)
    asked = requests_of(spec, options_of(spec), series, first, np.inf)
    futures = asked.rows[list(asked.targets)].to_numpy()
    days = asked.rows["day"].dt.day.tolist()
    # The 21st has no value, and after the 30th there is none.
    assert days == [18, 19, 20, *range(22, 30)]
    assert futures[0].tolist() == pytest.approx([18, 19, np.nan], nan_ok=True)
    assert futures[-1].tolist() == pytest.approx([29, np.nan, np.nan], nan_ok=True)
    known = pd.to_datetime(asked.known, unit="ms").day.tolist()
    assert (known[0], known[-1]) == (20, 30)


def test_one_series_needs_no_key() -> None:
    spec = spec_of(entityKey=[])
    rows = rows_of(a=run(40)).drop(columns="depot")
    samples = LEARNER.features(spec, None, rows)  # type: ignore[arg-type]
    assert "depot" not in samples
    assert len(samples) > 0


@pytest.mark.parametrize(
    ("options", "hours"),
    [
        ({"step": "day", "horizon": 14}, 14 * 25 + 48),
        ({"step": "15 minutes", "horizon": 8}, 2 + 48),
        ({"step": "month", "horizon": 3, "season": 12}, 3 * 31 * 24 + 48),
    ],
)
def test_labels_have_the_horizon_s_time_to_come(options: dict[str, Any], hours: int) -> None:
    spec = spec_of(options)
    assert spec.monitoring.performance.max_label_lag == timedelta(hours=hours)
    assert spec.retraining.cooldown == timedelta(hours=hours - 48)
