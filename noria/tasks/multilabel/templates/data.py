"""Makes the rows of this model. They are made up: put your own in data/rows.csv instead."""

import csv
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROWS = 6_000
START = datetime(2026, 1, 1, tzinfo=UTC)
BREAKS = {"lamp": 0.1, "kettle": 0.3, "phone": 0.6}


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "rows.csv"``, sixty days of messages, unless it is there already.

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
            ["message", "arrived", "channel", "product", "words", "days_owned", "closed",
             "refund", "urgent", "broken"]
        )  # fmt: skip
        for number in range(total):
            arrived = START + timedelta(days=60) * number / total
            channel = chance.choice(["mail", "form", "call"])
            product = chance.choice(list(BREAKS))
            owned = round(chance.expovariate(1 / 200))
            broken = chance.random() < BREAKS[product] * (1.4 if owned > 300 else 0.8)
            refund = chance.random() < (0.75 if owned < 30 else 0.3 if broken else 0.03)
            urgent = chance.random() < (0.6 if channel == "call" else 0.15) + 0.2 * broken
            words = round(chance.lognormvariate(4.0 + 0.5 * broken - 0.3 * urgent, 0.4))
            closed = arrived + timedelta(hours=chance.expovariate(1 / (4 if urgent else 20)))
            rows.writerow(
                [f"M{number:06}", arrived.isoformat(), channel, product, words, owned,
                 closed.isoformat(), int(refund), int(urgent), int(broken)]
            )  # fmt: skip


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
