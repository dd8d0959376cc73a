"""The examples: valid resources, and data modules that do as their READMEs say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from feature_repo import nycflights
from noria.spec import load_model
from noria.tasks.candidate import make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor
from noria.tasks.sources.feast import historical

if TYPE_CHECKING:
    from conftest import Load

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["flights", "delay-minutes"]
ENTRY = "AIRBUS A319-199, fixed wing multi engine, turbo-fan engines"


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    files = sorted((folder / "data").iterdir())
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def rows_of(folder: Path) -> pd.DataFrame:
    files = sorted((folder / "data").glob("flights*.parquet"))
    return pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_hold_every_column_that_the_resource_names(
    prepared: dict[str, Path], name: str
) -> None:
    data = load_model(prepared[name] / "model.yaml").spec.data
    assert data.target is not None
    assert data.label_time is not None
    rows = rows_of(prepared[name])
    assert {*data.request_columns(), data.target, data.label_time} <= set(rows.columns)


@pytest.mark.parametrize("name", NAMES)
def test_preparing_again_does_nothing_and_leaves_no_parts(
    load: Load, prepared: dict[str, Path], name: str
) -> None:
    folder = prepared[name]
    before = stamps(folder)
    load(folder).prepare(folder, fraction=0.02, seed=1)
    assert stamps(folder) == before
    assert not [file for file in before if file.endswith(".part")]


def test_another_sample_replaces_the_rows_and_the_same_seed_repeats_them(
    load: Load, prepared: dict[str, Path], tmp_path: Path
) -> None:
    module = load(prepared["delay-minutes"])
    module.prepare(tmp_path, fraction=0.02, seed=1)
    pd.testing.assert_frame_equal(rows_of(tmp_path), rows_of(prepared["delay-minutes"]))
    module.prepare(tmp_path, fraction=0.00001, seed=2)
    few = rows_of(tmp_path)
    assert 0 < len(few) < 20
    months = few["scheduled"].dt.tz_convert("America/New_York").dt.month.nunique()
    assert len(list((tmp_path / "data").glob("flights*.parquet"))) == months


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        nycflights.sample(pd.DataFrame(), fraction, 0)


def test_every_flight_that_landed_is_there_once() -> None:
    flights = nycflights.flights()
    assert len(flights) == 327_346
    assert flights["flight_id"].is_unique
    assert flights["scheduled"].is_monotonic_increasing
    assert flights["late"].mean() == pytest.approx(0.2371, abs=1e-4)
    assert flights.notna().all().all()
    first = flights.set_index("flight_id").loc["UA1545-EWR-20130101T0515"]
    assert first["scheduled"] == pd.Timestamp("2013-01-01T10:15:00Z")
    assert first["landed"] == pd.Timestamp("2013-01-01T14:30:00Z")
    assert first["sched_minute"] == 5 * 60 + 15
    # The label is the delay in minutes, and it is known when the flight has landed: as late
    # as its arrival delay after the timetable's arrival.
    block = (flights["landed"] - flights["scheduled"]).dt.total_seconds() / 60
    assert (block > 0).all()
    timetable = block - flights["arr_delay"]
    assert timetable.between(15, 12 * 60).mean() > 0.999


def test_local_minutes_follow_the_clock_through_daylight_saving() -> None:
    flights = nycflights.sample(nycflights.flights(), 0.02, 0)
    local = flights["scheduled"].dt.tz_convert("America/New_York")
    np.testing.assert_array_equal(flights["sched_minute"], local.dt.hour * 60 + local.dt.minute)


def test_both_examples_see_the_same_weather(prepared: dict[str, Path]) -> None:
    spec = load_model(prepared["flights"] / "model.yaml").spec
    looked_up = historical(spec, prepared["flights"], rows_of(prepared["flights"]))
    joined = rows_of(prepared["delay-minutes"])
    columns = ["flight_id", *nycflights.OBSERVATIONS]
    pd.testing.assert_frame_equal(
        looked_up[columns].sort_values("flight_id", ignore_index=True),
        joined[columns].sort_values("flight_id", ignore_index=True),
    )


def test_weather_is_published_after_it_was_observed() -> None:
    weather = nycflights.weather()
    assert len(weather) == 26_115
    assert (weather["published"] - weather["observed"]).eq(nycflights.PUBLICATION_DELAY).all()
    assert not weather.duplicated(["origin", "observed"]).any()


def test_the_planes_are_read_from_what_the_register_says(load: Load, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLES / "planes", tmp_path / "planes"))
    load(folder).prepare(folder)
    spec = load_model(folder / "model.yaml").spec
    tasks = family(spec.task.family)
    rows = tasks.ingest(spec, folder, None)
    assert len(rows) == 3_322
    assert rows["built"].isna().sum() == 70
    report = tasks.validate(spec, rows)
    assert not [check for check in report.checks if check.name == "leakage.built"]
    frame = tasks.features(spec, folder, rows)
    made = make_candidate(tasks, spec, frame, None, tmp_path / "made", model="planes")
    mae = made.evaluation.metrics["mae"].value
    assert mae is not None
    assert mae < 8
    said = load_predictor(made.package).predict(
        {
            "entry": np.array([ENTRY], dtype=object),
            "built": np.array(["2006-01-01"], "datetime64[ms]"),
            "first_flight": np.array(["2013-12-01"], "datetime64[ms]"),
        }
    )
    # No A319-199 is in the register; those that are have 100 to 179 seats.
    assert 100 <= said["prediction"][0] <= 179
