"""A project of made-up customers, a package of it, and a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.spec import Model, ModelSpec, load_model, parse_model
from noria.tasks.clustering.family import LEARNER, Fitted
from noria.tasks.families import template
from tests.serving.conftest import RunningServer, launch


def project_of(folder: Path, changes: Mapping[str, str]) -> Path:
    """Write the template's project and its rows; return its model.yaml."""
    folder.mkdir()
    for name, text in template("clustering").items():
        text = text.replace("$name", "shop")
        for old, new in changes.items() if name == "model.yaml" else ():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
    subprocess.run([sys.executable, "data.py"], cwd=folder, check=True)
    return folder / "model.yaml"


def spec_of(
    frame: pd.DataFrame, algorithm: str = "kmeans", options: Mapping[str, Any] | None = None
) -> ModelSpec:
    """Return a model of all columns of a frame, by their types; ``at`` is the time."""
    kinds = {"f": "numeric", "b": "boolean", "O": "categorical"}
    data: dict[str, Any] = {
        "source": {"parquet": {"paths": ["rows.parquet"]}},
        "features": [
            {"name": name, "type": kinds[frame[name].dtype.kind]} for name in frame if name != "at"
        ],
        "validation": {"minRows": 10, "maxMissing": 0.5},
    }
    if "at" in frame:
        data["eventTime"] = "at"
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "groups"},
            "spec": {
                "task": {"family": "clustering", "options": dict(options or {})},
                "data": data,
                "train": {"algorithm": algorithm},
            },
        }
    ).spec


def fitted_of(frame: pd.DataFrame, spec: ModelSpec, **params: Any) -> Fitted:
    """Return the clusters of all rows of a frame."""
    prepared = LEARNER.prepare(spec, frame)
    return LEARNER.fit(spec, prepared, np.arange(len(frame)), params, None)


class Project:
    """A model and its rows, read once."""

    def __init__(self, path: Path) -> None:
        self.model: Model = load_model(path)
        self.spec = self.model.spec
        rows = LEARNER.ingest(self.spec, path.parent, None)
        LEARNER.validate(self.spec, rows)
        self.frame = LEARNER.features(self.spec, path.parent, rows)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Customers of three kinds, some of whom order by another channel."""
    known = {"clusters: null ": "clusters: 6 "}
    return Project(project_of(tmp_path_factory.mktemp("clustering") / "shop", known))


@pytest.fixture(scope="session")
def package(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's package, fitted on all rows."""
    folder = tmp_path_factory.mktemp("package") / "v1"
    LEARNER.save(project.spec, fitted_of(project.frame, project.spec), folder, model="shop")
    return folder


@pytest.fixture(scope="session")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of the package, called ``m``."""
    running = launch(tmp_path_factory.mktemp("server"), package)
    yield running
    assert running.stop() == 0
