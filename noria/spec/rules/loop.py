"""Rules of ``spec.loop``."""

from typing import Final

LOOP_RULES: Final = ()
