"""Makes the rows of this model. They are made up: put your own in data/rows.csv instead."""

import csv
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROWS = 3_000
START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {
    # orders, basket, share that is sent back, how they order; and how many there are
    "regular": ((12, 2.0), (35, 6.0), (0.05, 0.02), {"app": 0.8, "web": 0.2}, 0.5),
    "large": ((4, 1.2), (160, 25.0), (0.10, 0.03), {"web": 0.7, "phone": 0.3}, 0.3),
    "trying": ((7, 1.5), (70, 12.0), (0.45, 0.08), {"app": 0.5, "web": 0.5}, 0.2),
}


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "rows.csv"``, sixty days of customers, unless it is there already.

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
        rows.writerow(["customer", "day", "orders", "basket", "returns", "channel"])
        for number in range(total):
            at = START + timedelta(days=60) * number / total
            (kind,) = chance.choices(list(KINDS), [one[-1] for one in KINDS.values()])
            orders, basket, returns, channels, _ = KINDS[kind]
            (channel,) = chance.choices(list(channels), list(channels.values()))
            numbers = [max(0.0, chance.gauss(*one)) for one in (orders, basket, returns)]
            rows.writerow(
                [f"C{number:05}", at.isoformat(), *(round(one, 3) for one in numbers), channel]
            )


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
