"""One answered request, as the payload log keeps it until the monitor has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from serving.runner import Outcome


class Predicted(NamedTuple):
    """What was asked and answered under one id; moments are seconds since 1970 UTC."""

    id: str
    outcome: Outcome
    received: float
    answered: float

    @property
    def cells(self) -> int:
        """How many values it holds."""
        return self.outcome.rows * (len(self.outcome.columns) + len(self.outcome.results))


@dataclass(frozen=True, slots=True)
class Source:
    """Whose predictions they are. Inputs and outputs in ``redact`` are never sent."""

    model: str
    version: str
    namespace: str = ""
    redact: frozenset[str] = frozenset()
