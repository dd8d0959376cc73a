"""Rows and feature sources of the flight-delay model."""

from pathlib import Path

from feature_repo import nycflights


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``flights``, ``weather`` and ``routes`` as Parquet files into ``base / "data"``.

    Does nothing when they are there already, made with the same arguments.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the flights to keep, in (0, 1]. The weather is always whole.
        seed: Chooses which flights.
    """
    folder = base / "data"
    recipe = {"example": "flights", "format": 1, "fraction": fraction, "seed": seed}
    if nycflights.prepared(folder, recipe):
        return
    flights = nycflights.flights()
    rows = nycflights.sample(flights, fraction, seed)
    nycflights.write(
        folder,
        {
            # The distance is looked up by route, so a flight does not carry it; the delay in
            # minutes would give the label away.
            "flights": rows.drop(columns=["distance", "arr_delay"]),
            "weather": nycflights.weather(),
            "routes": nycflights.routes(flights),
        },
        recipe,
    )


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
