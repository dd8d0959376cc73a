"""Rules of ``spec.train``."""

from typing import Final

TRAIN_RULES: Final = ()
