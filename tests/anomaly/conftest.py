"""A project of made-up pumps, a package of it, and a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from noria.spec import Model, load_model
from noria.tasks.anomaly.family import LEARNER
from noria.tasks.families import template
from tests.serving.conftest import RunningServer, launch


def project_of(folder: Path, changes: dict[str, str] | None = None) -> Path:
    """Write the template's project and its rows; return its model.yaml."""
    folder.mkdir()
    for name, text in template("anomaly-detection").items():
        text = text.replace("$name", "pumps")
        for old, new in (changes or {}).items() if name == "model.yaml" else ():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
    subprocess.run([sys.executable, "data.py"], cwd=folder, check=True)
    return folder / "model.yaml"


class Project:
    """A model and its rows, read once."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.model: Model = load_model(path)
        self.spec = self.model.spec
        self.rows: pd.DataFrame = LEARNER.ingest(self.spec, path.parent, None)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Pumps without a label."""
    return Project(project_of(tmp_path_factory.mktemp("anomaly") / "pumps"))


@pytest.fixture(scope="session")
def package(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's package, fitted on all rows."""
    folder = tmp_path_factory.mktemp("package") / "v1"
    prepared = LEARNER.prepare(project.spec, project.rows)
    fitted = LEARNER.fit(project.spec, prepared, np.arange(len(project.rows)), {}, None)
    LEARNER.save(project.spec, fitted, folder, model="pumps")
    return folder


@pytest.fixture(scope="session")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of the package, called ``m``."""
    running = launch(tmp_path_factory.mktemp("server"), package)
    yield running
    assert running.stop() == 0
