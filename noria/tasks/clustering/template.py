"""What ``noria init`` writes for ``clustering``: customers of a made-up shop."""

from __future__ import annotations

from importlib import resources
from typing import Final

_FOLDER: Final = resources.files("noria.tasks.clustering").joinpath("templates")

TEMPLATE: Final = {
    name: _FOLDER.joinpath(name).read_text("utf-8")
    for name in ("model.yaml", "data.py", "README.md")
}
