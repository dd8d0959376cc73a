"""What FLAML or AutoGluon says of the tables' test rows: ``python rivals.py TABLES OUT LEARNER``.

Runs in an environment of its own, where the learner is installed; the project depends on neither,
and nothing of Noria's is imported here. ``OUT/NAME.LEARNER.npy`` gets (n,) values or probabilities
of the greater class, or (n, k) in the sorted order of the classes, ``OUT/NAME.LEARNER.json`` the
CPU seconds of the fit and of the answers. A table that is there already is not fitted again.

Both keep their limits by ``time.time``, which here tells the seconds of computing of this process:
a busy machine makes no worse rival. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

_EPOCH: Final = time.time()
SECONDS: Final = {"flaml": 60.0, "autogluon": 600.0}
"""FLAML searches until its time is over; AutoGluon ends by itself, mostly long before."""

_SEED: Final = 7


def _flaml(train: Any, test: Any, target: str, seconds: float, folder: Path) -> Any:
    from flaml import AutoML

    is_class = train[target].dtype == object
    learner = AutoML()
    learner.fit(
        X_train=train.drop(columns=[target]),
        y_train=train[target],
        task="classification" if is_class else "regression",
        metric="log_loss" if is_class else "rmse",
        time_budget=seconds,
        n_jobs=1,
        seed=_SEED,
        verbose=0,
        log_file_name=str(folder / "log"),
    )
    rows = test[[name for name in train if name != target]]
    if not is_class:
        return learner.predict(rows), learner.best_estimator
    said = learner.predict_proba(rows)
    if list(learner.classes_) != sorted(learner.classes_):
        raise SystemExit("the classes are in another order")
    return said, learner.best_estimator


def _autogluon(train: Any, test: Any, target: str, seconds: float, folder: Path) -> Any:
    from autogluon.tabular import TabularPredictor

    is_class = train[target].dtype == object
    metric = "log_loss" if is_class else "root_mean_squared_error"
    learner = TabularPredictor(target, eval_metric=metric, path=str(folder / "models"), verbosity=0)
    learner.fit(train, presets="medium_quality", time_limit=seconds, num_cpus=1)
    names = ", ".join(learner.model_names())
    if not is_class:
        return learner.predict(test).to_numpy(), names
    said = learner.predict_proba(test)
    return said[sorted(said.columns)].to_numpy(), names


_LEARNERS: Final = {"flaml": _flaml, "autogluon": _autogluon}


def main() -> int:
    """Fit on each table and keep what is said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("learner", choices=sorted(_LEARNERS))
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--seconds", type=float, default=0.0)
    given = parser.parse_args()
    import numpy as np
    import pandas as pd

    given.out.mkdir(parents=True, exist_ok=True)
    for folder in sorted(one.parent for one in given.tables.glob("*/model.yaml")):
        out = given.out / f"{folder.name}.{given.learner}.npy"
        if out.exists() or (given.only and folder.name not in given.only):
            continue
        print(folder.name, flush=True)
        train, test = (pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
        target = next(
            line.split(":")[1].strip()
            for line in (folder / "model.yaml").read_text().splitlines()
            if line.strip().startswith("target:")
        )
        began = time.process_time()
        with tempfile.TemporaryDirectory() as made:
            seconds = given.seconds or SECONDS[given.learner]
            said, what = _LEARNERS[given.learner](train, test, target, seconds, Path(made))
        spent = time.process_time() - began
        said = np.asarray(said, dtype=np.float64)
        np.save(out, said[:, 1] if said.ndim == 2 and said.shape[1] == 2 else said)
        out.with_suffix(".json").write_text(json.dumps({"CPU s": spent, "what": what}) + "\n")
    return 0


if __name__ == "__main__":
    time.time = lambda: _EPOCH + time.process_time()
    sys.exit(main())
