"""The weather at New York's three airports, hour by hour through 2013."""

from pathlib import Path

from feature_repo import nycflights

COLUMNS = ["temp", "dewp", "humid", "wind_speed", "pressure", "visib"]
STRONGEST = 200.0
"""Miles an hour. One record says 1,048: a broken anemometer."""


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "weather.parquet"``, a row for each hour at each airport.

    Does nothing when the file is there already, made with the same arguments.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the hours to keep, in (0, 1].
        seed: Chooses which.
    """
    folder = base / "data"
    recipe = {"example": "weather", "format": 1, "fraction": fraction, "seed": seed}
    if nycflights.prepared(folder, recipe):
        return
    rows = nycflights.sample(nycflights.weather(), fraction, seed)
    rows = rows[~(rows["wind_speed"] > STRONGEST)]
    nycflights.write(folder, {"weather": rows[["origin", "observed", *COLUMNS]]}, recipe)


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
