"""A project of made-up depots, a package of it, and servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from noria.spec import Model, load_model
from noria.tasks.families import template
from noria.tasks.forecasting.family import LEARNER
from tests.serving.conftest import RunningServer, launch


def project_of(folder: Path, changes: dict[str, str]) -> Path:
    """Write the template's project and its values; return its model.yaml."""
    folder.mkdir()
    for name, text in template("forecasting").items():
        text = text.replace("$name", "depots")
        for old, new in changes.items() if name == "model.yaml" else ():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
    subprocess.run([sys.executable, "data.py"], cwd=folder, check=True)
    return folder / "model.yaml"


class Project:
    """A model and its samples, read once."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.model: Model = load_model(path)
        self.spec = self.model.spec
        self.rows: pd.DataFrame = LEARNER.ingest(self.spec, path.parent, None)
        self.samples = LEARNER.features(self.spec, path.parent, self.rows)
        self.learner = LEARNER


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Forty depots, by the seasonal naive, whose forecasts are plain to see."""
    naive = {"  gates:": "  train: {algorithm: seasonal-naive}\n  gates:"}
    return Project(project_of(tmp_path_factory.mktemp("forecasting") / "depots", naive))


@pytest.fixture(scope="session")
def package(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's package, fitted on all samples."""
    folder = tmp_path_factory.mktemp("package") / "v1"
    prepared = LEARNER.prepare(project.spec, project.samples)
    places = project.samples.index.to_numpy()
    fitted = LEARNER.fit(project.spec, prepared, places, {}, None)
    LEARNER.save(project.spec, fitted, folder, model="depots")
    return folder


@pytest.fixture(scope="session")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of the package, called ``m``."""
    running = launch(tmp_path_factory.mktemp("server"), package)
    yield running
    assert running.stop() == 0
