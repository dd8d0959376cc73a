"""Rows of handwritten digits: those of scikit-learn, as if they had come in one after another."""

from pathlib import Path

import pandas as pd
from sklearn.datasets import load_digits

FIRST = pd.Timestamp("2026-01-01T08:00:00Z")
EVERY = pd.Timedelta(minutes=20)
READ_AFTER = pd.Timedelta(hours=1)


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "digits.parquet"``, unless it is there already.

    One digit is scanned every twenty minutes, in the order of the data set; an hour later a
    person has read it. These times are made up.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the 1,797 digits to keep, in (0, 1].
        seed: Chooses which.
    """
    path = base / "data" / "digits.parquet"
    if path.exists():
        return
    images, digits = load_digits(return_X_y=True)
    rows = pd.DataFrame({"image": list(images.astype("float32")), "digit": digits})
    rows = rows.sample(frac=fraction, random_state=seed).sort_index()
    rows["scan"] = [f"S{place:05}" for place in range(len(rows))]
    rows["scanned"] = [FIRST + EVERY * place for place in range(len(rows))]
    rows["read"] = rows["scanned"] + READ_AFTER
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    rows.to_parquet(draft, index=False)
    draft.replace(path)


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
