"""Pictures of clothing, one after the other: Fashion-MNIST (Zalando), as Debian packages it."""

import gzip
import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

FOLDER = "FASHION_MNIST"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
KINDS = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
)
PICTURES = 5_000
"""Of the 60,000 of the training part."""
START = datetime(2026, 1, 5, tzinfo=UTC)
EVERY = timedelta(minutes=6)
SORTED = timedelta(hours=4)
ASKEW = 0.55
"""The share of the pictures after which the camera hangs askew."""
DEGREES = 30


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "pictures.parquet"``, one every six minutes, unless it is there.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the pictures to keep, in (0, 1].
        seed: Chooses which, and their order.

    Raises:
        RuntimeError: Fashion-MNIST is not here.
    """
    path = base / "data" / "pictures.parquet"
    if path.exists():
        return
    pixels, codes = read()
    chance = np.random.default_rng(seed)
    kept = chance.permutation(len(codes))[: max(1, round(PICTURES * fraction))]
    rows = []
    for number, place in enumerate(kept.tolist()):
        taken = START + number * EVERY
        askew = number >= ASKEW * len(kept)
        file = png(pixels[place], DEGREES if askew else 0)
        rows.append((f"P{number:06}", taken, taken + SORTED, KINDS[codes[place]], file))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    columns = ["shot", "taken", "sorted", "kind", "image"]
    pd.DataFrame(rows, columns=columns).to_parquet(part, index=False)
    part.replace(path)


def read(part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, 28, 28) pictures and (n,) places in ``KINDS`` of ``train`` or ``t10k``.

    Raises:
        RuntimeError: They are not here.
    """
    folder = Path(os.environ.get(FOLDER, DEBIAN))
    try:
        pixels = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
        codes = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    except FileNotFoundError as error:
        raise RuntimeError(
            f"{folder} has no Fashion-MNIST: install Debian's package dataset-fashion-mnist "
            f"(apt-get install dataset-fashion-mnist), or let {FOLDER} name a folder that has "
            f"{part}-images-idx3-ubyte.gz"
        ) from error
    # The format is IDX: a header of 16 bytes before pixels, of 8 before labels.
    return (
        np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(codes, np.uint8, offset=8),
    )


def png(pixels: np.ndarray, degrees: int = 0) -> bytes:
    """Return a picture as the bytes of a PNG, turned."""
    image = Image.fromarray(pixels)
    if degrees:
        image = image.rotate(degrees, Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
