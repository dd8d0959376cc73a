"""Makes the rows of this model. They are made up: put your own in data/rows.csv instead."""

import csv
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROWS = 6_000
START = datetime(2026, 1, 1, tzinfo=UTC)
PROMISED_HOURS = {"express": 30, "standard": 60, "freight": 90}


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "rows.csv"``, sixty days of parcels, unless it is there already.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the rows to make, in (0, 1].
        seed: Chooses which rows.
    """
    path = base / "data" / "rows.csv"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)  # noqa: S311 - made-up rows need no secrets
    total = max(1, round(ROWS * fraction))
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(
            ["parcel_id", "ordered", "service", "distance_km", "weight_kg", "delivered", "hours",
             "late"]
        )  # fmt: skip
        for number in range(total):
            ordered = START + timedelta(days=60) * number / total
            service = chance.choice(list(PROMISED_HOURS))
            distance = round(chance.lognormvariate(5.5, 0.7), 1)
            weight = round(chance.lognormvariate(0.8, 0.9), 2)
            usual = PROMISED_HOURS[service] * 0.3 + distance / 18 + weight / 2
            weekend = 10 if ordered.weekday() >= 4 else 0
            hours = round(usual + weekend + chance.expovariate(1 / 12), 2)
            delivered = ordered + timedelta(hours=hours)
            late = int(hours > PROMISED_HOURS[service])
            rows.writerow(
                [f"P{number:06}", ordered.isoformat(), service, distance, weight,
                 delivered.isoformat(), hours, late]
            )  # fmt: skip


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
