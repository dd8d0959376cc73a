"""What a script does with LightGBM by its own defaults: ``python -m tests.bench.tables.plain``.

Takes a folder of ``prepare.py`` and the file to write predictions of its test rows to: (n,) values
or probabilities of the greater class, or (n, k) in the sorted order of the classes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor


def main(folder: Path, target: str, out: Path) -> None:
    """Fit one thread, 100 rounds, and predict."""
    train = pd.read_parquet(folder / "train.parquet")
    test = pd.read_parquet(folder / "test.parquet")
    y = train.pop(target)
    test = test[list(train.columns)]
    for name in train.select_dtypes(object):
        kind = pd.CategoricalDtype(sorted(train[name].dropna().unique()))
        train[name], test[name] = train[name].astype(kind), test[name].astype(kind)
    if y.dtype == object:
        said = LGBMClassifier(n_jobs=1, verbosity=-1).fit(train, y).predict_proba(test)
        np.save(out, said[:, 1] if said.shape[1] == 2 else said)
    else:
        np.save(out, LGBMRegressor(n_jobs=1, verbosity=-1).fit(train, y).predict(test))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
