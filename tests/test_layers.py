"""The layer contract of ``pyproject.toml`` names every package: none escapes it."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_and_module_of_ours_has_its_layer() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layered = (one for one in linter["contracts"] if one["type"] == "layers")
    (contract,) = (one for one in layered if "containers" not in one)
    named = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    parts = {
        f"noria.{place.stem}"
        for place in (ROOT / "noria").iterdir()
        if (place / "__init__.py").exists() or place.suffix == ".py"
    }
    parts -= {"noria.__init__", "noria.__main__"}
    assert named == parts | set(linter["root_packages"]) - {"noria"}
