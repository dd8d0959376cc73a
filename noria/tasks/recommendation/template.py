"""What ``noria init`` writes for ``recommendation``: made-up readers and books."""

from __future__ import annotations

from typing import Final

from noria.tasks.templates import texts_of

TEMPLATE: Final = texts_of("noria.tasks.recommendation")
