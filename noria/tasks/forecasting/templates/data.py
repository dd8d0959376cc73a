"""Makes the rows of this model. They are made up: put your own in data/rows.csv instead."""

import csv
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

DEPOTS = 40
DAYS = 210
START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = (1.25, 1.1, 1.0, 1.0, 1.15, 0.6, 0.3)


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "rows.csv"``, thirty weeks of forty depots, unless it is there.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the depots to make, in (0, 1].
        seed: Chooses the values.
    """
    path = base / "data" / "rows.csv"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)  # noqa: S311 - made-up rows need no secrets
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["depot", "day", "parcels"])
        for number in range(max(1, round(DEPOTS * fraction))):
            level, growth = math.log(chance.lognormvariate(5.5, 0.8)), chance.gauss(0.0, 0.001)
            for day in range(DAYS):
                level += growth + chance.gauss(0.0, 0.02)
                usual = math.exp(level) * WEEK[day % 7]
                parcels = round(usual * chance.lognormvariate(0.0, 0.08))
                at = START + timedelta(days=day)
                rows.writerow([f"D{number:02}", at.date().isoformat(), parcels])


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
