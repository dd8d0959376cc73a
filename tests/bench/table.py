"""A project with made-up rows of a table, of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml


def project(base: Path, rows: int, numbers: int, **hyperparameters: Any) -> None:
    """Write ``rows.parquet`` and ``model.yaml`` of the model ``bench`` into a folder.

    Args:
        base: The folder.
        rows: How many there are, over thirty days.
        numbers: Columns of them; one of five categories comes beside.
        hyperparameters: Of LightGBM, which fits it.
    """
    random = np.random.default_rng(0)
    when = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(
        np.sort(random.uniform(0, 30 * 86400, rows)), unit="s"
    )
    columns: dict[str, Any] = {f"x{i}": random.normal(size=rows) for i in range(numbers)}
    score = columns["x0"] + columns["x1"] + random.normal(size=rows)
    frame = pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(rows)],
            "at": when.as_unit("us"),
            "carrier": random.choice(list("ABCDE"), rows),
            **columns,
            "late": (score > 0).astype(int),
        }
    )
    frame.to_parquet(base / "rows.parquet", index=False)
    features = [{"name": f"x{i}", "type": "numeric"} for i in range(numbers)]
    resource = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "bench"},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": [{"name": "carrier", "type": "categorical"}, *features],
                "target": "late",
                "eventTime": "at",
                "entityKey": ["id"],
                "validation": {"minRows": 500},
            },
            "train": {"algorithm": "lightgbm", "hyperparameters": hyperparameters},
            "gates": {"minRows": 100, "bounds": [{"metric": "auc", "min": 0.6}]},
        },
    }
    (base / "model.yaml").write_text(yaml.safe_dump(resource))
