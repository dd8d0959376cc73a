"""Installs families as packages that other distributions bring."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

TOY = Path(__file__).parent / "toy"
SAMPLES = Path(__file__).parent / "samples"


def installed(folder: Path, package: Path = TOY) -> Path:
    """Build a package's wheel in ``folder``, and return the folder that it is unpacked in."""
    source, dist, site = folder / "source", folder / "dist", folder / "site"
    shutil.copytree(package, source)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    dist.mkdir()
    subprocess.run(
        [sys.executable, "-c", build, str(dist)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return site


def altered(toy: Path, tmp_path: Path, file: str, changes: dict[str, str]) -> Path:
    """Return the toy's site once more, with other words in one file."""
    site = tmp_path / "altered"
    if not site.exists():
        shutil.copytree(toy, site)
    path = site / "toy_text" / file
    text = path.read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)
    return site
