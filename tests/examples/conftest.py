"""The examples, prepared once from a sample of the real data."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from noria.tasks.sources.feast_repository import import_feast

import_feast()

EXAMPLES = Path(__file__).parents[2] / "examples"
FRACTION = 0.02

Load = Callable[[Path], ModuleType]


@pytest.fixture(scope="session")
def load() -> Load:
    """Return a loader of a folder's data module, as a project's own code is loaded."""

    def data_module(folder: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"data_of_{folder.name}", folder / "data.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return data_module


@pytest.fixture(scope="session")
def prepared(load: Load, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return each example's folder, copied elsewhere and prepared there."""
    home = tmp_path_factory.mktemp("examples")
    folders = {}
    for name in ("flights", "delay-minutes"):
        folders[name] = Path(shutil.copytree(EXAMPLES / name, home / name))
        load(folders[name]).prepare(folders[name], fraction=FRACTION, seed=1)
    return folders
