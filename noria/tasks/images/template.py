"""What ``noria init`` writes for ``image-classification``: pictures of made-up signs."""

from __future__ import annotations

from importlib import resources
from typing import Final

_FOLDER: Final = resources.files("noria.tasks.images").joinpath("templates")

TEMPLATE: Final = {
    name: _FOLDER.joinpath(name).read_text("utf-8")
    for name in ("model.yaml", "data.py", "README.md")
}
