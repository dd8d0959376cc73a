"""Rows of the delay-in-minutes model, with the weather already joined."""

from pathlib import Path

import pandas as pd

from feature_repo import nycflights


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``flights`` as one Parquet file a month into ``base / "data"``.

    A client of this model knows the weather and sends it; here it is the latest observation
    published at or before the scheduled departure, if it is at most six hours old. Does
    nothing when the files are there already, made with the same arguments.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the flights to keep, in (0, 1].
        seed: Chooses which flights.
    """
    folder = base / "data"
    recipe = {"example": "delay-minutes", "format": 1, "fraction": fraction, "seed": seed}
    if nycflights.prepared(folder, recipe):
        return
    rows = nycflights.sample(nycflights.flights(), fraction, seed)
    rows = pd.merge_asof(
        rows.drop(columns="late"),
        nycflights.weather().drop(columns="observed"),
        left_on="scheduled",
        right_on="published",
        by="origin",
        tolerance=pd.Timedelta(hours=6) - nycflights.PUBLICATION_DELAY,
    ).drop(columns="published")
    month = rows["scheduled"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m")
    nycflights.write(
        folder, {f"flights-{name}": part for name, part in rows.groupby(month)}, recipe
    )


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
