"""What ``noria init`` writes for ``clustering``: customers of a made-up shop."""

from __future__ import annotations

from typing import Final

from noria.tasks.templates import texts_of

TEMPLATE: Final = texts_of("noria.tasks.clustering")
