"""Flights out of New York on each day of 2013, by carrier and airport."""

from pathlib import Path

from feature_repo import nycflights


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "departures.parquet"``, a row for each day of each series.

    A day without a flight has no row. Does nothing when the file is there already, made with the
    same arguments.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the flights to keep, in (0, 1].
        seed: Chooses which flights.
    """
    folder = base / "data"
    recipe = {"example": "departures", "format": 1, "fraction": fraction, "seed": seed}
    if nycflights.prepared(folder, recipe):
        return
    flights = nycflights.sample(nycflights.flights(), fraction, seed)
    # The day of an airport starts at its own midnight.
    local = flights["scheduled"].dt.tz_convert("America/New_York").dt.normalize()
    days = flights.assign(day=local.dt.tz_convert("UTC"))
    counts = days.groupby(["origin", "carrier", "day"], as_index=False).size()
    rows = counts.rename(columns={"size": "flights"})
    nycflights.write(folder, {"departures": rows}, recipe)


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
