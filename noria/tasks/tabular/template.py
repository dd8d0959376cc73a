"""What ``noria init`` writes for the tabular families: a model of made-up parcels."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Final


def _texts(model: str) -> Mapping[str, str]:
    folder = resources.files("noria.tasks.tabular").joinpath("templates")
    files = {"model.yaml": model, "data.py": "data.py", "README.md": "README.md"}
    return {name: folder.joinpath(file).read_text("utf-8") for name, file in files.items()}


CLASSIFICATION: Final = _texts("classification.yaml")
REGRESSION: Final = _texts("regression.yaml")
