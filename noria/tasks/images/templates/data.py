"""Makes the pictures of this model. They are made up: put your own in data/pictures.parquet."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

ROWS = 3000
START = datetime(2026, 1, 5, tzinfo=UTC)
SIGNS = ("circle", "cross", "square")


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "pictures.parquet"``, a picture every quarter of an hour.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the pictures to make, in (0, 1].
        seed: Chooses them.
    """
    path = base / "data" / "pictures.parquet"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    rows = []
    for number in range(max(1, round(ROWS * fraction))):
        at = START + timedelta(minutes=15 * number)
        sign = SIGNS[int(chance.integers(len(SIGNS)))]
        known = at + timedelta(hours=3)
        rows.append((f"S{number:06}", at, known, sign, picture(sign, chance)))
    columns = ["shot", "at", "known", "sign", "image"]
    pd.DataFrame(rows, columns=columns).to_parquet(path, index=False)


def picture(sign: str, chance: np.random.Generator) -> bytes:
    """Return a PNG of 16 by 16 pixels: the sign somewhere, at some size, in noise."""
    image = Image.new("L", (16, 16), int(chance.integers(20, 60)))
    draw = ImageDraw.Draw(image)
    x, y = chance.integers(4, 12, 2).tolist()
    half, ink = int(chance.integers(3, 5)), int(chance.integers(110, 200))
    if sign == "circle":
        draw.ellipse((x - half, y - half, x + half, y + half), outline=ink)
    elif sign == "square":
        draw.rectangle((x - half, y - half, x + half, y + half), outline=ink)
    else:
        draw.line((x - half, y - half, x + half, y + half), fill=ink)
        draw.line((x - half, y + half, x + half, y - half), fill=ink)
    noisy = np.asarray(image, np.float64) + chance.normal(0.0, 22.0, (16, 16))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
