"""What the spec does not say about alerts: how long something must last, and over what time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Times and defaults of the rules.

    Drift, performance and quality have no waiting time: they are one value per window
    of rows, and waiting over the same window adds no evidence.

    Attributes:
        interval: Time between two evaluations.
        rate: Over what time request rates and latencies are taken; at least four scrapes.
        hold: How long a state that may pass by itself must last.
        long_hold: The same, for what a restart or a rollout may cause for minutes.
        lost: For how long a lost event is told.
        silence: How long no row at all is normal.
        late_windows: Rows for this many windows without one that closes are too many.
        replica_silence: How long a monitor's replica may say nothing; it speaks every 5 seconds.
        worker_silence: How long a step of a thread may take: a slow detector's fit, a slow disk.
        loop_silence: How long a loop may not turn.
        finishing: How long a promotion or an abort may take.
        step_share: Share of a step's timeout after which an undecided step is told.
        error_rate: Greatest share of failed requests, where the canary's analysis has no limit.
        latency_p99: Greatest 99th percentile in seconds, where the analysis limits no latency.
        min_requests: Requests within ``rate`` below which errors and latencies tell nothing.
        runbook: Where the runbook is; each alert adds its own anchor.
    """

    interval: timedelta = timedelta(seconds=30)
    rate: timedelta = timedelta(minutes=5)
    hold: timedelta = timedelta(minutes=5)
    long_hold: timedelta = timedelta(minutes=15)
    lost: timedelta = timedelta(hours=1)
    silence: timedelta = timedelta(hours=6)
    late_windows: float = 2.0
    replica_silence: timedelta = timedelta(seconds=30)
    worker_silence: timedelta = timedelta(minutes=5)
    loop_silence: timedelta = timedelta(minutes=5)
    finishing: timedelta = timedelta(minutes=15)
    step_share: float = 0.75
    error_rate: float = 0.01
    latency_p99: float = 1.0
    min_requests: int = 20
    runbook: str = "docs/alerts.md"


_NOW: Final = timedelta(0)

FAST: Final = RuleSettings(
    interval=timedelta(seconds=1),
    rate=timedelta(seconds=15),
    hold=_NOW,
    long_hold=_NOW,
    lost=timedelta(minutes=1),
    silence=timedelta(minutes=1),
    replica_silence=timedelta(seconds=15),
    worker_silence=timedelta(seconds=15),
    loop_silence=timedelta(seconds=15),
    finishing=timedelta(seconds=30),
)
"""For tests and demonstrations with a scrape each second: everything is told within seconds."""
