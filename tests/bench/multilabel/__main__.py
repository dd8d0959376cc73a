"""Learn three labels of flights; a table, and ``bench-multilabel.json``.

``python -m tests.bench.multilabel FOLDER``; the files come from ``prepare.py``. Default settings
are held against scikit-learn's ``LogisticRegression`` of each label (one-hot categories,
standardised numbers, missing ones at their mean), and thresholds chosen for F1 against the same
with ``class_weight="balanced"``; both of these answer by 0.5.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from noria.measures.catalog import METRICS
from noria.measures.measuring import compare, decided, measure
from noria.spec import ModelSpec, parse_model
from noria.tasks.multilabel.family import LEARNER
from noria.tasks.multilabel.judged import asked
from noria.tasks.package import read_manifest
from noria.tasks.tabular.evaluation import said_of

LABELS: Final = ("left_late", "came_late", "cancelled")
TEXTS: Final = ("carrier", "origin", "dest")


def main(folder: Path) -> int:
    """Run the bench."""
    train, test = (pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "test"))
    truth = test[list(LABELS)].to_numpy(np.float64)
    said = {
        "default": _ours(train, test, {}),
        "threshold f1": _ours(train, test, {"threshold": {"for": "f1"}}),
        "logistic": _theirs(train, test, None),
        "logistic, balanced": _theirs(train, test, "balanced"),
    }
    rows = []
    for name, (scores, limits, seconds) in said.items():
        row: dict[str, Any] = {"way": name, "seconds": seconds, "thresholds": list(limits)}
        for metric in ("micro-f1", "f1", "auc", "hamming-loss", "subset-accuracy"):
            found = measure(metric, truth, decided(METRICS[metric], scores, limits))
            row[metric] = (found.value, found.low, found.high)
            if not name.startswith("logistic"):
                other, theirs, _ = said["logistic, balanced" if limits else "logistic"]
                both = [
                    decided(METRICS[metric], *one) for one in ((scores, limits), (other, theirs))
                ]
                gain = compare(metric, truth, *both)
                row[f"{metric} gain"] = (gain.value, gain.low, gain.high)
        rows.append(row)
        print(json.dumps(row), flush=True)
    Path("bench-multilabel.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def _ours(
    train: pd.DataFrame, test: pd.DataFrame, options: dict[str, Any]
) -> tuple[np.ndarray, tuple[float, ...], float]:
    spec = _spec(train, options)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        params = LEARNER.tune(spec, train, Path(folder)).params
        prepared = LEARNER.prepare(spec, train)
        fitted = LEARNER.fit(spec, prepared, np.arange(len(train)), params, None)
        seconds = time.perf_counter() - began
        package = Path(folder) / "package"
        LEARNER.save(spec, fitted, package)
        return said_of(asked(package, test)), read_manifest(package).limits, seconds


def _theirs(
    train: pd.DataFrame, test: pd.DataFrame, weights: str | None
) -> tuple[np.ndarray, tuple[float, ...], float]:
    numbers = [name for name in train if name not in (*TEXTS, *LABELS)]
    began = time.perf_counter()
    columns = []
    for label in LABELS:
        read = make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore"), list(TEXTS)),
        )
        model = make_pipeline(read, LogisticRegression(max_iter=2000, class_weight=weights))
        model.fit(train, train[label])
        columns.append(model.predict_proba(test)[:, 1])
    return np.column_stack(columns), (), time.perf_counter() - began


def _spec(train: pd.DataFrame, options: dict[str, Any]) -> ModelSpec:
    features = [
        {"name": name, "type": "categorical" if name in TEXTS else "numeric"}
        for name in train
        if name not in LABELS
    ]
    task = {"family": "multi-label", "options": {"labels": list(LABELS), **options}}
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "flights"},
            "spec": {
                "task": task,
                "data": {
                    "source": {"parquet": {"paths": ["train.parquet"]}},
                    "features": features,
                },
            },
        }
    ).spec


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
