"""What reconciling does to forecasts of parts and sums: ``python -m ...hierarchy``.

How many flights each carrier has out of each airport on each day of 2013, seven days ahead; the
sums are of each airport, and of all. Every way of reconciling is run, and none is chosen by this.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from noria.spec import ModelSpec, parse_model
from noria.tasks.forecasting import accuracy
from noria.tasks.forecasting.family import LEARNER
from noria.tasks.forecasting.hierarchy import ALL
from noria.tasks.forecasting.judged import UNRECONCILED, said_of
from tests.bench.forecast.covariates import ZONE, days

METHODS: Final = ("theta", "combination", "boosting")
WAYS: Final = ("min-trace", "bottom-up", "top-down")
AIRPORTS: Final = ("EWR", "JFK", "LGA")
HORIZON: Final = 7


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forecast.hierarchy")
    parser.add_argument("airports", nargs="*", default=list(AIRPORTS))
    parser.add_argument("--until", default="2013-12-31", help="the last day, 2013-12-31")
    given = parser.parse_args(arguments)
    flights = days(given.airports)
    flights = flights[flights["day"] < pd.Timestamp(given.until, tz=ZONE) + pd.Timedelta(days=1)]
    # A carrier that does not fly all year has no whole sums to be measured.
    whole = flights.groupby(["origin", "carrier"])["day"].agg(["min", "max"])
    whole = whole[(whole["max"] == flights["day"].max())].index
    rows = flights.set_index(["origin", "carrier"]).loc[whole].reset_index()
    table = Table(title=f"Held-out origins of flights until {given.until}: MASE of each level")
    for name in ("algorithm", "reconciled by", "all", "airport", "carrier", "every node", "n"):
        table.add_column(name)
    for one in measured(rows):
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in one))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
    return 0


def measured(rows: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield the MASE of each level before reconciling, and by each way after it."""
    for algorithm in METHODS:
        for way in WAYS:
            spec = _spec(algorithm, way)
            frame = _frame(spec, rows)
            split = LEARNER.split(spec, frame, None)
            train, test = (part.reset_index(drop=True) for part in (split.train, split.test))
            fitted = LEARNER.fit(
                spec, LEARNER.prepare(spec, train), np.arange(len(train)), {}, None
            )
            samples = LEARNER.prepare(spec, test)
            said = LEARNER.predict(spec, fitted, samples, np.arange(len(test)))
            outputs = {"nothing": UNRECONCILED} if way == WAYS[0] else {}
            for name, output in (outputs | {way: "prediction"}).items():
                found = accuracy.mase(
                    samples.futures, said_of(said, HORIZON, output), samples.scale
                )
                summed = (test[["origin", "carrier"]] == ALL).sum(axis=1).to_numpy()
                levels = (float(found[summed == level].mean()) for level in (2, 1, 0))
                yield (algorithm, name, *levels, float(found.mean()), len(test))


def _frame(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data").mkdir()
        rows.to_parquet(Path(folder) / "data" / "rows.parquet")
        known = LEARNER.ingest(spec, Path(folder), None)
        return LEARNER.features(spec, Path(folder), known)


def _spec(algorithm: str, way: str) -> ModelSpec:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "flights"},
            "spec": {
                "task": {
                    "family": "forecasting",
                    "options": {
                        "step": "day",
                        "horizon": HORIZON,
                        "levels": [80],
                        "gaps": "zero",
                        "origins": 52,
                        "timeZone": "America/New_York",
                        "hierarchy": [["origin"]],
                        "reconcile": way,
                    },
                },
                "data": {
                    "source": {"parquet": {"paths": ["data/rows.parquet"]}},
                    "entityKey": ["origin", "carrier"],
                    "eventTime": "day",
                    "target": "flights",
                },
                "train": {"algorithm": algorithm},
            },
        }
    ).spec


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
