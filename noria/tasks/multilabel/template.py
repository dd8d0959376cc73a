"""What ``noria init`` writes for ``multi-label``: made-up messages to a help desk."""

from __future__ import annotations

from typing import Final

from noria.tasks.templates import texts_of

TEMPLATE: Final = texts_of("noria.tasks.multilabel")
