"""Call rare classes by a threshold that is chosen; a table, and ``bench-thresholds.json``.

``python -m tests.bench.thresholds FOLDER``; the files come from ``prepare.py``. The same default
model answers by 0.5 and by the threshold of ``spec.task.options.threshold``, and another is fitted
with ``classWeights: balanced`` and answers by 0.5.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from noria.measures.catalog import METRICS
from noria.measures.measuring import compare, decided, measure
from noria.spec import ModelSpec, parse_model
from noria.tasks.package import Manifest
from noria.tasks.tabular.family import TABULAR
from noria.tasks.tabular.schema import columns_of

CHOSEN_ON: Final = ("churn", "attrition", "yeast1", "abalone9-18", "winequality-red-4")
"""Whose test rows were looked at while the way was chosen. The others only report."""

AIMS: Final = ("f1", "balanced-accuracy")


def main(folder: Path) -> int:
    """Run the bench."""
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*.train.parquet")):
        name = file.name.removesuffix(".train.parquet")
        print(f"{name} ...", file=sys.stderr, flush=True)
        test = pd.read_parquet(folder / f"{name}.test.parquet")
        rows.extend(_measured(name, pd.read_parquet(file), test))
        Path("bench-thresholds.json").write_text(json.dumps(rows, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(_table(rows))
    return 0


def _measured(name: str, train: pd.DataFrame, test: pd.DataFrame) -> Iterator[dict[str, Any]]:
    truth = test["y"].to_numpy(np.float64)
    _, weighted = _fitted(train, test, {"classWeights": "balanced"})
    for aim in AIMS:
        metric = METRICS[aim]
        manifest, said = _fitted(train, test, {"threshold": {"for": aim}})
        ours = decided(metric, said, manifest.limits)
        others = {"half": decided(metric, said, [0.5]), "weights": decided(metric, weighted, [0.5])}
        row: dict[str, Any] = {
            "data": name,
            "rows": len(test),
            "positive": float(truth.mean()),
            "aim": aim,
            "threshold": manifest.limits[0],
            "chosen": measure(metric, truth, ours).value,
            "log loss": measure("log-loss", truth, said).value,
            "log loss, weights": measure("log-loss", truth, weighted).value,
        }
        for other, theirs in others.items():
            gain = compare(metric, truth, ours, theirs)
            row[other] = measure(metric, truth, theirs).value
            row[f"gain on {other}"] = (gain.value, gain.low, gain.high)
        yield row


def _fitted(
    train: pd.DataFrame, test: pd.DataFrame, options: dict[str, Any]
) -> tuple[Manifest, np.ndarray]:
    """Fit by default settings; return the manifest, and the probabilities of the test rows."""
    spec = _spec(train, options)
    with tempfile.TemporaryDirectory() as folder:
        params = TABULAR.tune(spec, train, Path(folder)).params
    fitted = TABULAR.fit(spec, TABULAR.prepare(spec, train), np.arange(len(train)), params, None)
    columns = columns_of(fitted.manifest.features, None, test)
    model: Any = fitted.predictor
    return fitted.manifest, model.predict(columns)["probability"]


def _spec(train: pd.DataFrame, options: dict[str, Any]) -> ModelSpec:
    numbers = {column: train[column].dtype.kind == "f" for column in train if column != "y"}
    features = [
        {"name": column, "type": "numeric" if numeric else "categorical"}
        for column, numeric in numbers.items()
    ]
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "rare"},
            "spec": {
                "task": {"family": "tabular-classification", "options": options},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": features,
                    "target": "y",
                },
            },
        }
    ).spec


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "data", "positive", "aim", "threshold", "chosen", "0.5", "gain", "weights", "gain"
    )
    for row in rows:
        seen = " c" if row["data"] in CHOSEN_ON else ""
        table.add_row(
            row["data"] + seen,
            f"{row['positive']:.1%}",
            row["aim"],
            f"{row['threshold']:.3f}",
            *(f"{row[name]:.3f}" for name in ("chosen", "half")),
            _gain(row["gain on half"]),
            f"{row['weights']:.3f}",
            _gain(row["gain on weights"]),
        )
    return table


def _gain(found: tuple[float, float | None, float | None]) -> str:
    value, low, high = found
    return f"{value:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
