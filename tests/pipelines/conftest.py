"""A project with one model and a few thousand made-up rows, and a home for its runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from noria.loop.values import RunRequest


def made_up_rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Rows of January 2013, one after another, whose label depends on distance and carrier."""
    random = np.random.default_rng(seed)
    carrier = random.choice(["AA", "UA", "DL"], count)
    distance = random.uniform(100, 3000, count)
    chance = 1 / (1 + np.exp(-(distance - 1500) / 400 - (carrier == "AA")))
    scheduled = pd.to_datetime("2013-01-01", utc=True) + pd.to_timedelta(
        np.sort(random.uniform(0, 30 * 86400, count)), unit="s"
    )
    return pd.DataFrame(
        {
            "flight_id": [f"f{i}" for i in range(count)],
            "carrier": carrier,
            "distance": distance,
            "scheduled": scheduled.as_unit("us"),
            "landed": (scheduled + pd.Timedelta(hours=3)).as_unit("us"),
            "late": (random.uniform(size=count) < chance).astype(int),
        }
    )


def resource(**train: Any) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "flights", "annotations": {"note": "it's {{$.inputs}} 'quoted'"}},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": [
                    {"name": "carrier", "type": "categorical"},
                    {"name": "distance", "type": "numeric"},
                ],
                "timeFeatures": ["hour-of-day"],
                "target": "late",
                "eventTime": "scheduled",
                "labelTime": "landed",
                "entityKey": ["flight_id"],
                "validation": {"minRows": 500},
            },
            "train": {"algorithm": "linear", **train},
            "gates": {"minRows": 100, "bounds": [{"metric": "auc", "min": 0.6}]},
        },
    }


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    def make(count: int = 2000, **train: Any) -> Path:
        folder = tmp_path / "it's a project"
        folder.mkdir(exist_ok=True)
        made_up_rows(count).to_parquet(folder / "rows.parquet", index=False)
        (folder / "model.yaml").write_text(yaml.safe_dump(resource(**train)))
        return folder / "model.yaml"

    return make


@pytest.fixture
def request_run() -> Callable[..., RunRequest]:
    def make(run_id: str = "run-1", **changes: Any) -> RunRequest:
        values: dict[str, Any] = {
            "run_id": run_id,
            "model": "flights",
            "as_of": datetime(2013, 2, 1, tzinfo=UTC),
            "reason": 'it\'s drift in "distance" {{$.inputs}}',
            "champion": None,
        }
        return RunRequest(**(values | changes))

    return make
