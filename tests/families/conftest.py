"""Distributions that bring families, installed into folders that a new process has on its path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

TOY = Path(__file__).parent / "toy"
Noria = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the toy family is installed in: its wheel, built and unpacked."""
    source = tmp_path_factory.mktemp("toy") / "source"
    shutil.copytree(TOY, source)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    dist = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-c", build, str(dist)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = dist.glob("*.whl")
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return site


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
