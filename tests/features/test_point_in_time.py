"""What training sees: for every row what was known at its event time, and nothing more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.sources.asof import as_of, known_log
from noria.tasks.sources.feast import historical

if TYPE_CHECKING:
    from conftest import Correct, Home, Observations

TTL = timedelta(hours=6)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def flight(scheduled: str, origin: str = "JFK", dest: str = "LAX") -> dict[str, object]:
    return {"origin": origin, "dest": dest, "scheduled": at(scheduled)}


def temperatures(spec: ModelSpec, base: Path, *rows: dict[str, object]) -> list[float]:
    return historical(spec, base, pd.DataFrame(rows))["temp"].tolist()


def test_an_event_sees_the_latest_observation_published_by_then(
    spec: ModelSpec, home: Home, observations: Observations
) -> None:
    base = home(
        observations(
            ("2013-01-05 08:00", "2013-01-05 09:00", 30),
            ("2013-01-05 09:00", "2013-01-05 10:00", 40),
        )
    )
    found = temperatures(
        spec,
        base,
        flight("2013-01-05 08:59"),
        flight("2013-01-05 09:00"),
        flight("2013-01-05 09:59"),
        flight("2013-01-05 10:00"),
    )
    np.testing.assert_array_equal(found, [np.nan, 30, 30, 40])


def test_a_late_correction_is_not_seen_before_its_publication(
    spec: ModelSpec, home: Home, observations: Observations
) -> None:
    base = home(
        observations(
            ("2013-01-05 08:00", "2013-01-05 09:00", 30),
            ("2013-01-05 08:00", "2013-01-05 09:30", 31),
        )
    )
    found = temperatures(spec, base, flight("2013-01-05 09:29"), flight("2013-01-05 09:30"))
    assert found == [30, 31]


def test_a_correction_of_an_overtaken_observation_changes_nothing(
    spec: ModelSpec, home: Home, observations: Observations
) -> None:
    base = home(
        observations(
            ("2013-01-05 08:00", "2013-01-05 09:00", 30),
            ("2013-01-05 09:00", "2013-01-05 10:00", 40),
            ("2013-01-05 08:00", "2013-01-05 11:00", 31),
        )
    )
    assert temperatures(spec, base, flight("2013-01-05 11:30")) == [40]


def test_real_flights_with_corrected_weather_agree_with_the_definition(
    spec: ModelSpec, home: Home, flights: pd.DataFrame, weather: pd.DataFrame, corrected: Correct
) -> None:
    changed = corrected(weather, 3)
    rows = flights.sample(400, random_state=0)
    found = historical(spec, home(changed), rows)
    by_origin = dict(tuple(changed.groupby("origin")))
    for row in found.itertuples():
        source, instant = by_origin[row.origin], row.scheduled
        known = source[
            (source["published"] <= instant) & source["observed"].between(instant - TTL, instant)
        ]
        last = known.sort_values(["observed", "published"]).tail(1)
        expected = last["temp"].item() if len(last) else np.nan
        np.testing.assert_equal(row.temp, expected)


def test_what_comes_later_changes_nothing(
    spec: ModelSpec, home: Home, flights: pd.DataFrame, weather: pd.DataFrame, corrected: Correct
) -> None:
    changed = corrected(weather, 4)
    end = pd.Timestamp("2013-01-06 12:00", tz="UTC")
    rows = flights[flights["scheduled"] <= end]
    whole = historical(spec, home(changed, "whole"), rows)
    cut = historical(spec, home(changed[changed["published"] <= end], "cut"), rows)
    pd.testing.assert_frame_equal(whole, cut)


def test_a_silent_station_is_missing_after_the_ttl_and_no_row_is_lost(
    spec: ModelSpec, home: Home, observations: Observations
) -> None:
    base = home(observations(("2013-01-05 08:00", "2013-01-05 09:00", 30)))
    found = temperatures(
        spec,
        base,
        flight("2013-01-05 14:00"),
        flight("2013-01-05 14:01"),
        flight("2013-01-05 08:30"),
    )
    np.testing.assert_array_equal(found, [30, np.nan, np.nan])


def test_rows_keep_their_order_and_index_when_they_share_origin_and_minute(
    spec: ModelSpec, home: Home, flights: pd.DataFrame
) -> None:
    rows = flights.sample(300, random_state=1)
    found = historical(spec, home(), rows)
    pd.testing.assert_frame_equal(found[rows.columns], rows)
    pd.testing.assert_frame_equal(
        found.sort_index(), historical(spec, home(name="sorted"), rows.sort_index())
    )
    assert found["distance"].notna().all()


def test_event_times_may_be_strings_or_milliseconds(
    spec: ModelSpec, home: Home, observations: Observations
) -> None:
    base = home(observations(("2013-01-05 08:00", "2013-01-05 09:00", 30)))
    row = flight("2013-01-05 09:00")
    text = row | {"scheduled": "2013-01-05T09:00:00Z"}
    number = row | {"scheduled": int(at("2013-01-05 09:00").timestamp() * 1000)}
    assert temperatures(spec, base, text) == temperatures(spec, base, number) == [30]


def test_nothing_is_left_in_the_folder_by_a_join(spec: ModelSpec, home: Home) -> None:
    base = home()
    temperatures(spec, base, flight("2013-01-05 09:00"))
    assert [path.name for path in base.iterdir()] == ["data"]


def test_rows_without_an_event_time_are_refused(spec: ModelSpec, home: Home) -> None:
    rows = pd.DataFrame([flight("2013-01-05 09:00"), flight("2013-01-05 09:00")])
    rows.loc[1, "scheduled"] = pd.NaT
    with pytest.raises(DataError, match="scheduled: row 1 has no event time"):
        historical(spec, home(), rows)


def test_rows_without_a_join_key_are_refused(spec: ModelSpec, home: Home) -> None:
    rows = pd.DataFrame([flight("2013-01-05 09:00")]).drop(columns="dest")
    with pytest.raises(DataError, match="no column 'dest'"):
        historical(spec, home(), rows)


def test_a_feature_that_the_service_lacks_is_refused(spec: ModelSpec, home: Home) -> None:
    snow = spec.data.looked_up_features()[0].model_copy(update={"name": "snow"})
    data = spec.data.model_copy(update={"features": (*spec.data.features, snow)})
    lacking = spec.model_copy(update={"data": data})
    with pytest.raises(DataError, match="does not offer 'snow'"):
        historical(lacking, home(), pd.DataFrame([flight("2013-01-05 09:00")]))


def test_a_missing_source_says_to_prepare_it(spec: ModelSpec, home: Home) -> None:
    base = home()
    (base / "data" / "weather.parquet").unlink()
    with pytest.raises(DataError, match=r"weather\.parquet") as caught:
        historical(spec, base, pd.DataFrame([flight("2013-01-05 09:00")]))
    assert caught.value.__cause__ is not None


HOURS = st.integers(0, 12)


@settings(max_examples=60, deadline=None)
@given(
    source=st.lists(st.tuples(st.sampled_from("ab"), HOURS, HOURS), min_size=1, max_size=25),
    instants=st.lists(st.tuples(st.sampled_from("abc"), HOURS), min_size=1, max_size=10),
)
def test_the_log_answers_any_instant_as_the_definition_does(
    source: list[tuple[str, int, int]], instants: list[tuple[str, int]]
) -> None:
    table = pd.DataFrame(source, columns=["key", "event", "created"])
    table["value"] = np.arange(len(table), dtype=float)
    hours = pd.DataFrame(instants, columns=["key", "at"])
    clock = pd.Timestamp("2013-01-01", tz="UTC").as_unit("us")
    stamped = table.assign(
        event=clock + pd.to_timedelta(table["event"], unit="h"),
        created=clock + pd.to_timedelta(table["created"], unit="h"),
    )
    asked = hours.assign(at=clock + pd.to_timedelta(hours["at"], unit="h"))
    log = known_log(stamped, ["key"], "event", "created")
    found = as_of(asked, log, ["key"], "at", ["value"], timedelta(hours=5))["value"]
    for (key, hour), value in zip(instants, found, strict=True):
        known = [
            (event, created, row)
            for row, (name, event, created) in enumerate(source)
            if name == key and max(event, created) <= hour and hour - event <= 5
        ]
        np.testing.assert_equal(value, max(known)[2] if known else np.nan)
