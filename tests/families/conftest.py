"""Distributions that bring families, installed into folders that a new process has on its path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.families.installed import installed

Noria = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the toy family is installed in: its wheel, built and unpacked."""
    return installed(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def distribution(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that installs a distribution with entry points and one module."""

    def install(
        name: str, entry_points: dict[str, str], module: str, group: str = "noria.families"
    ) -> Path:
        site = tmp_path / f"site-{name}"
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        (site / f"{name}_module.py").write_text(module)
        return site

    return install


@pytest.fixture
def noria(tmp_path: Path) -> Noria:
    """Return a function that runs `noria` with folders of installed distributions on its path."""

    def run(*words: object, sites: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(map(str, sites))
        return subprocess.run(
            [sys.executable, "-m", "noria.cli", *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
