"""Hourly readings of three weather stations in 2013, a few of them with planted faults."""

from pathlib import Path

import numpy as np
import pandas as pd

from feature_repo import nycflights

FAULTY = 0.01
"""Share of the readings with a planted fault."""

CHECKED = pd.Timedelta(days=3)
"""How long after a reading somebody has looked at it."""

HURRICANE = 200.0
"""Miles an hour that no wind has at these stations: one reading of 1,048 is in the records."""

COLUMNS = ("temp", "dewp", "humid", "wind_speed", "pressure")


def faulty(readings: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return readings with faults planted in some of them; ``fault`` is 1 for these.

    A third of them each: the temperature is in degrees Celsius and not Fahrenheit, the humidity is
    that of twelve hours before, the pressure is 25 hPa off.
    """
    rng = np.random.default_rng(seed)
    found = readings.reset_index(drop=True)
    kind = np.where(rng.random(len(found)) < FAULTY, rng.integers(1, 4, len(found)), 0)
    before = found.groupby("origin")["humid"].shift(12)
    off = rng.choice([-25.0, 25.0], len(found))
    found["temp"] = found["temp"].where(kind != 1, (found["temp"] - 32.0) / 1.8)
    found["humid"] = found["humid"].where(kind != 2, before)
    found["pressure"] = found["pressure"].where(kind != 3, found["pressure"] + off)
    known = (kind > 0) | (found["wind_speed"] > HURRICANE)
    return found.assign(fault=known.astype("int64"))


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "readings.parquet"``, a row for each reading of a station.

    Does nothing when the file is there already, made with the same arguments.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the readings to keep, in (0, 1].
        seed: Chooses which, and the faults.
    """
    folder = base / "data"
    recipe = {"example": "weather-stations", "format": 1, "fraction": fraction, "seed": seed}
    if nycflights.prepared(folder, recipe):
        return
    rows = faulty(nycflights.weather(), seed)
    rows["reading"] = rows["origin"] + rows["observed"].dt.strftime("-%Y%m%d%H")
    rows["checked"] = rows["observed"] + CHECKED
    rows = rows[["reading", "origin", "observed", *COLUMNS, "fault", "checked"]]
    nycflights.write(folder, {"readings": nycflights.sample(rows, fraction, seed)}, recipe)


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
