"""Made-up parcels: how many hours does one take?"""

from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 4_000
HOURS = {"express": 8.0, "standard": 20.0, "freight": 40.0}


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "parcels.parquet"``, sixty days of them, unless it is there already.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the rows to make, in (0, 1].
        seed: Of what is made up.
    """
    path = base / "data" / "parcels.parquet"
    if path.exists():
        return
    rng = np.random.default_rng(seed)
    count = max(1, round(ROWS * fraction))
    minutes = np.linspace(0, 60 * 24 * 60, count, endpoint=False)
    rows = pd.DataFrame({"parcel": [f"P{place:06}" for place in range(count)]})
    rows["ordered"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(minutes, unit="min")
    rows["service"] = rng.choice(list(HOURS), count)
    rows["distance_km"] = rng.lognormal(5.5, 0.7, count).round(1)
    rows["weight_kg"] = rng.lognormal(0.8, 0.9, count).round(2)
    usual = rows["service"].map(HOURS) + rows["distance_km"] / 18 + rows["weight_kg"] / 2
    weekend = np.where(rows["ordered"].dt.day_of_week >= 4, 10.0, 0.0)
    rows["hours"] = (usual + weekend + rng.exponential(6.0, count)).round(2)
    rows["delivered"] = rows["ordered"] + pd.to_timedelta(rows["hours"], unit="h")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    rows.to_parquet(draft, index=False)
    draft.replace(path)


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
