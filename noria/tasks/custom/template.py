"""What ``noria init`` writes for the family: a class of a few lines, on made-up parcels."""

from __future__ import annotations

from typing import Final

from noria.tasks.templates import texts_of

TEMPLATE: Final = {
    **texts_of("noria.tasks.custom", ("model.yaml", "model.py")),
    **texts_of("noria.tasks.tabular", ("data.py",)),
    **texts_of("noria.tasks.custom", ("README.md",)),
}
