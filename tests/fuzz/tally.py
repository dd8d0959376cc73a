"""What a door was asked and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

KEPT: Final = 20


@dataclass
class Tally:
    """Counts of one door.

    ``broken`` are 5xx (or gRPC's UNKNOWN and INTERNAL) to a client's nonsense; a 503 that
    says "later" is an answer, not a fault. ``hangs`` are requests without an answer in
    time, ``dead`` how often the server had to be started again, ``peak`` MiB of resident memory.
    ``alone`` and ``beside`` are another client's p99 in ms, before and while it is attacked.
    """

    door: str
    tried: int = 0
    accepted: int = 0
    refused: int = 0
    closed: int = 0
    later: int = 0
    broken: int = 0
    tracebacks: int = 0
    hangs: int = 0
    dead: int = 0
    start: float = 0.0
    peak: float = 0.0
    alone: float | None = None
    beside: float | None = None
    found: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """How often an invariant did not hold."""
        return self.broken + self.tracebacks + self.hangs + self.dead

    def status(self, code: int, sent: bytes) -> None:
        """Count an HTTP status; 0 is a connection that was closed without one."""
        self.tried += 1
        if code == 0:
            self.closed += 1
        elif code < 400:
            self.accepted += 1
        elif code < 500:
            self.refused += 1
        elif code == 503:
            self.later += 1
        else:
            self.broken += 1
            self.keep(f"{code}", sent)

    def keep(self, what: str, sent: bytes) -> None:
        """Keep an input that shows a fault, so that it can become a test."""
        if len(self.found) < KEPT:
            self.found.append(f"{what}: {sent[:2000]!r}")
