"""What ``noria init`` writes for the family: a class of a few lines, on made-up parcels."""

from __future__ import annotations

from importlib import resources
from typing import Final

_OWN: Final = resources.files("noria.tasks.custom").joinpath("templates")
_ROWS: Final = resources.files("noria.tasks.tabular").joinpath("templates", "data.py")

TEMPLATE: Final = {
    "model.yaml": _OWN.joinpath("model.yaml").read_text("utf-8"),
    "model.py": _OWN.joinpath("model.py").read_text("utf-8"),
    "data.py": _ROWS.read_text("utf-8"),
    "README.md": _OWN.joinpath("README.md").read_text("utf-8"),
}
