"""A model resource, and the artifacts of every step before the one under test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import steps

NO_REGISTRY = ("sqlite:///none.db", Path("none"))


class Project:
    """A folder with rows, the resource that reads them, and a place for artifacts."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "project"
        self.base.mkdir()
        self.out = folder / "out"
        self._resource: dict[str, Any] = {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "flights"},
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
                    "validation": {"minRows": 100},
                },
                "train": {"algorithm": "linear"},
                "gates": {"minRows": 10, "bounds": [{"metric": "auc", "min": 0.5}]},
            },
        }
        _rows(1000).to_parquet(self.base / "rows.parquet", index=False)

    def model(self, **train: Any) -> str:
        """The resource as JSON, with changes of ``spec.train``."""
        changed = json.loads(json.dumps(self._resource))
        changed["spec"]["train"] |= train
        return json.dumps(changed)

    def artifact(self, name: str) -> Path:
        """A path for an artifact; its folder is there, as KFP would have it."""
        self.out.mkdir(exist_ok=True)
        return self.out / name


def _rows(count: int) -> pd.DataFrame:
    random = np.random.default_rng(7)
    distance = random.uniform(100, 3000, count)
    scheduled = (
        pd.to_datetime("2013-01-01", utc=True)
        + pd.to_timedelta(np.sort(random.uniform(0, 30 * 86400, count)), unit="s")
    ).as_unit("us")
    return pd.DataFrame(
        {
            "flight_id": [f"f{i}" for i in range(count)],
            "carrier": random.choice(["AA", "UA"], count),
            "distance": distance,
            "scheduled": scheduled,
            "landed": scheduled + pd.Timedelta(hours=3),
            "late": (random.uniform(size=count) < distance / 3000).astype(int),
        }
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def ready_to_train(project: Project) -> Project:
    """A project after ingest, features, split and tune."""
    model, artifact, base = project.model(), project.artifact, str(project.base)
    steps.ingest(model=model, base=base, as_of="", rows=artifact("rows"))
    steps.features(model=model, base=base, rows=artifact("rows"), frame=artifact("frame"))
    steps.split(
        model=model,
        champion="",
        registry=NO_REGISTRY,
        frame=artifact("frame"),
        train=artifact("train"),
        test=artifact("test"),
    )
    steps.tune(
        model=model,
        train=artifact("train"),
        params=artifact("params"),
        workdir=artifact("search"),
    )
    return project


@pytest.fixture
def trained(ready_to_train: Project) -> Project:
    """A project after train."""
    artifact = ready_to_train.artifact
    steps.train(
        model=ready_to_train.model(),
        champion="",
        registry=NO_REGISTRY,
        frame=artifact("frame"),
        test=artifact("test"),
        params=artifact("params"),
        candidate=artifact("candidate"),
        package=artifact("package"),
        held_out=artifact("held_out"),
    )
    return ready_to_train
