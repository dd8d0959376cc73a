"""What covariates and holidays are worth on real days of 2013: ``python -m ...covariates``.

Two targets for each carrier at an airport: the mean delay of arrival of its flights of a day, with
the airport's weather of the day as known ahead (measured, as if forecast without an error), and how
many flights there were, with the holidays of the US. What is read of them was chosen on Newark and
LaGuardia; JFK reports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
from rich.console import Console
from rich.table import Table

from feature_repo import nycflights
from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import make_candidate
from noria.tasks.forecasting.family import LEARNER

ZONE: Final = "America/New_York"
WEATHER: Final = ("temp", "wind", "precip", "visib")
METHODS: Final = ("theta", "combination", "boosting", "auto")


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forecast.covariates")
    parser.add_argument("airports", nargs="*", default=["JFK"])
    given = parser.parse_args(arguments)
    rows = days(given.airports)
    table = Table(title=f"Held-out origins of {', '.join(given.airports)}, 2013")
    for name in ("target", "beside", "algorithm", "taken", "MASE", "naive", "80 %", "n", "CPU s"):
        table.add_column(name)
    for one in measured(rows):
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in one))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
    return 0


def days(airports: Sequence[str]) -> pd.DataFrame:
    """Return a row for each carrier, airport and day: ``delay``, ``flights``, the weather."""
    flights, weather = nycflights.flights(), nycflights.weather()
    flights = flights[flights["origin"].isin(airports)]
    flights = flights.assign(day=_day(flights["scheduled"]))
    key = ["origin", "carrier", "day"]
    found = flights.groupby(key, as_index=False).agg(
        delay=("arr_delay", "mean"), flights=("arr_delay", "size")
    )
    daily = weather.assign(day=_day(weather["observed"])).groupby(["origin", "day"], as_index=False)
    beside = daily.agg(
        temp=("temp", "min"),
        wind=("wind_speed", "mean"),
        precip=("precip", "sum"),
        visib=("visib", "mean"),
    )
    return found.merge(beside, how="left", on=["origin", "day"]).astype({"flights": "float64"})


def measured(rows: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield what each algorithm does without and with what stands beside."""
    cases: tuple[tuple[str, str, dict[str, Any], tuple[str, ...]], ...] = (
        ("delay", "nothing", {}, ()),
        ("delay", "weather", {"knownAhead": list(WEATHER)}, WEATHER),
        ("flights", "nothing", {"gaps": "zero"}, ()),
        ("flights", "holidays", {"gaps": "zero", "holidays": ["US"]}, ()),
    )
    for target, beside, options, features in cases:
        for algorithm in METHODS if beside == "nothing" else METHODS[2:]:
            yield (target, beside, algorithm, *_run(rows, target, options, features, algorithm))


def _run(
    rows: pd.DataFrame, target: str, options: dict[str, Any], features: Sequence[str], how: str
) -> tuple[Any, ...]:
    began, spec = time.process_time(), _spec(target, options, features, how)
    kept = rows[["origin", "carrier", "day", target, *features]]
    LEARNER.validate(spec, kept)
    frame = LEARNER.features(spec, Path(), kept)
    with tempfile.TemporaryDirectory() as folder:
        made = make_candidate(LEARNER, spec, frame, None, Path(folder), model="days")
    metrics, beside = made.evaluation.metrics, made.evaluation.baseline
    return (
        made.manifest.parameters["method"],
        metrics["mase"].value,
        beside["mase"].value,
        metrics["coverage-80"].value,
        made.evaluation.rows,
        time.process_time() - began,
    )


def _spec(target: str, options: dict[str, Any], features: Sequence[str], how: str) -> ModelSpec:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "days"},
            "spec": {
                "task": {
                    "family": "forecasting",
                    "options": {
                        "step": "day",
                        "horizon": 7,
                        "origins": 52,
                        "levels": [80],
                        "timeZone": ZONE,
                        **options,
                    },
                },
                "data": {
                    "source": {"csv": {"paths": ["days.csv"]}},
                    "entityKey": ["origin", "carrier"],
                    "eventTime": "day",
                    "target": target,
                    "features": [{"name": name, "type": "numeric"} for name in features],
                    "validation": {"minRows": 1},
                },
                "train": {"algorithm": how},
            },
        }
    ).spec


def _day(moments: pd.Series) -> pd.Series:
    local = moments.dt.tz_convert(ZONE).dt.normalize()
    return local.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
