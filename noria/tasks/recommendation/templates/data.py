"""Makes the rows of this model. They are made up: put your own in data/rows.csv instead."""

import csv
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

READERS = 600
BOOKS = 240
SHELVES = 8
DAYS = 180
START = datetime(2026, 1, 5, tzinfo=UTC)


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "rows.csv"``, half a year of loans, unless it is there.

    Each reader likes two of the shelves, and on each some books more than others.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the readers to make, in (0, 1].
        seed: Chooses the rows.
    """
    path = base / "data" / "rows.csv"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)  # noqa: S311 - made-up rows need no secrets
    shelves = [[f"B{n:03}" for n in range(BOOKS) if n % SHELVES == s] for s in range(SHELVES)]
    popular = [1.0 / (1.0 + place) ** 0.6 for place in range(BOOKS // SHELVES)]
    loans = []
    for number in range(max(1, round(READERS * fraction))):
        liked = chance.sample(shelves, 2)
        day = chance.uniform(0, DAYS * 0.7)
        while day < DAYS:
            for _ in range(chance.randint(1, 4)):
                shelf = chance.choice(liked if chance.random() < 0.85 else shelves)
                book = chance.choices(shelf, popular)[0]
                at = START + timedelta(days=day, minutes=chance.randint(0, 30))
                loans.append((at.isoformat(timespec="seconds"), f"R{number:04}", book))
            day += chance.expovariate(1 / 14)
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["at", "reader", "book"])
        rows.writerows(sorted(loans))


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
