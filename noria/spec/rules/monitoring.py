"""Rules of ``spec.monitoring``."""

from typing import Final

MONITORING_RULES: Final = ()
