"""Makes the rows of this model. They are made up: put your own in data/rows.csv instead."""

import csv
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROWS = 4000
START = datetime(2026, 1, 5, tzinfo=UTC)
MODES = {"eco": 0.7, "normal": 1.0, "boost": 1.3}
STRANGE = 0.005


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "rows.csv"``, a reading every quarter of an hour, unless it is there.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the readings to make, in (0, 1].
        seed: Chooses the values.
    """
    path = base / "data" / "rows.csv"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)  # noqa: S311 - made-up rows need no secrets
    with path.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(
            ["reading", "at", "flow", "pressure", "current", "temperature", "vibration", "mode"]
        )
        for number in range(max(1, round(ROWS * fraction))):
            at = START + timedelta(minutes=15 * number)
            mode = chance.choices(list(MODES), (2, 7, 1))[0]
            flow = 40 * MODES[mode] * chance.lognormvariate(0.0, 0.1)
            pressure = 2.0 + 0.002 * flow**2 + chance.gauss(0.0, 0.15)
            current = 1.5 + 0.05 * flow * pressure / 5 + chance.gauss(0.0, 0.08)
            temperature = 30 + 4 * current + chance.gauss(0.0, 1.0)
            vibration = chance.lognormvariate(-1.0 + 0.01 * flow, 0.2)
            if chance.random() < STRANGE:  # a leak: little pressure for the flow
                pressure *= 0.5
                vibration *= 2.0
            readings = (flow, pressure, current, temperature, vibration)
            shown = [f"{value:.3f}" if math.isfinite(value) else "" for value in readings]
            rows.writerow([f"R{number:06}", at.isoformat(), *shown, mode])


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
