"""Learn ordered classes with their order and without it; a table, and ``bench-ordered.json``.

``python -m tests.bench.ordered FOLDER``; the files come from ``prepare.py``. Both are trained by
default settings on the same rows; one has ``spec.task.options.order``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from noria.measures.measuring import compare, measure
from noria.spec import ModelSpec, parse_model
from noria.tasks.package import Manifest
from noria.tasks.tabular.family import TABULAR
from noria.tasks.tabular.schema import columns_of

CHOSEN_ON = ("diamonds",)
"""Whose test rows were looked at while the way was chosen. The others only report."""

METRICS = ("ranked-probability", "quadratic-kappa", "class-distance", "log-loss")


def main(folder: Path) -> int:
    """Run the bench."""
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*.train.parquet")):
        name = file.name.removesuffix(".train.parquet")
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(
            _measured(name, pd.read_parquet(file), pd.read_parquet(folder / f"{name}.test.parquet"))
        )
        Path("bench-ordered.json").write_text(json.dumps(rows, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(_table(rows))
    return 0


def _measured(name: str, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    truth = test["y"].to_numpy(np.float64)
    order = sorted(train["y"].unique().tolist())
    ordered = _spec(train, order)
    manifest, ours = _fitted(train, test, ordered)
    _, theirs = _fitted(train, test, _spec(train, []))
    row: dict[str, Any] = {
        "data": name,
        "rows": len(test),
        "classes": len(order),
        "by": manifest.algorithm,
    }
    for metric in map(ordered.metric, METRICS):
        gain = compare(metric, truth, ours, theirs)
        row[metric.name] = (
            measure(metric, truth, ours).value,
            measure(metric, truth, theirs).value,
            gain.value,
            gain.low,
            gain.high,
        )
    return row


def _fitted(
    train: pd.DataFrame, test: pd.DataFrame, spec: ModelSpec
) -> tuple[Manifest, np.ndarray]:
    """Fit; return the manifest, and the probabilities of the test rows."""
    with tempfile.TemporaryDirectory() as folder:
        params = TABULAR.tune(spec, train, Path(folder)).params
    fitted = TABULAR.fit(spec, TABULAR.prepare(spec, train), np.arange(len(train)), params, None)
    model: Any = fitted.predictor
    said = model.predict(columns_of(fitted.manifest.features, None, test))
    return fitted.manifest, said["probability"]


def _spec(train: pd.DataFrame, order: list[int]) -> ModelSpec:
    numbers = {column: train[column].dtype.kind == "f" for column in train if column != "y"}
    features = [
        {"name": column, "type": "numeric" if numeric else "categorical"}
        for column, numeric in numbers.items()
    ]
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "ordered"},
            "spec": {
                "task": {"family": "tabular-classification", "options": {"order": order}},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": features,
                    "target": "y",
                },
            },
        }
    ).spec


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("data", "rows", "classes", "by", *METRICS)
    for row in rows:
        found = [
            f"{ours:.4f} / {theirs:.4f} {gain:+.4f}"
            + ("" if low is None else f" [{low:+.4f}, {high:+.4f}]")
            for ours, theirs, gain, low, high in (row[name] for name in METRICS)
        ]
        seen = " c" if row["data"] in CHOSEN_ON else ""
        table.add_row(row["data"] + seen, str(row["rows"]), str(row["classes"]), row["by"], *found)
    return table


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
