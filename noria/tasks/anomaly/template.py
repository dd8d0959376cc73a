"""What ``noria init`` writes for ``anomaly-detection``: readings of made-up pumps."""

from __future__ import annotations

from typing import Final

from noria.tasks.templates import texts_of

TEMPLATE: Final = texts_of("noria.tasks.anomaly")
