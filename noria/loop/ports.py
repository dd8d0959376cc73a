"""What the loop needs from the world: six ports, each with a fake and a conformance suite.

Adapters raise only ``noria.errors``. Every call may be repeated: the engine does
an action again when it can't know whether the last attempt arrived.
Fakes are in ``noria.loop.fakes``; suites in ``noria.loop.conformance``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from noria.loop.ledger import LedgerEntry
from noria.loop.state import Alert, State, Stored
from noria.loop.values import (
    Compared,
    Message,
    MetricQuery,
    RunRequest,
    RunStatus,
    Signal,
    VersionInfo,
)

CHAMPION: Final = "champion"
"""The alias of the version that users should get."""

LABELLED_ROWS: Final = "labelled-rows"
"""Metric: how many rows got a label since ``since`` (value and samples), whoever answered them."""

ROWS_PER_DAY: Final = "rows-per-day"
"""Metric: rows of all versions that are logged a day, as of late (value), whatever ``since``."""

ERROR_RATE: Final = "error-rate"
"""Metric: share of requests that failed; its samples are the rows answered and one per failure."""


class Pipelines(Protocol):
    """Starts and follows training runs."""

    def start(self, request: RunRequest) -> None:
        """Start a run and return at once. Idempotent by ``request.run_id``, also across restarts.

        Raises:
            PipelineError, Unavailable: It was not started, or that can't be known.
        """

    def status(self, run_id: str) -> RunStatus:
        """Say where a run is; phase ``unknown`` for a run this runner doesn't know.

        Raises:
            PipelineError, Unavailable: The runner can't tell now.
        """

    def cancel(self, run_id: str) -> None:
        """Stop a run. Does nothing when it is unknown or over."""


class Registry(Protocol):
    """Holds versions and the aliases that point at them."""

    def versions(self, model: str) -> tuple[VersionInfo, ...]:
        """Return every version, oldest first; empty for an unknown model."""

    def version(self, model: str, version: str) -> VersionInfo | None:
        """Return one version, or None."""

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version an alias points at, or None."""

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Point an alias at ``version`` (None removes it) if it now points at ``expected``.

        Raises:
            Conflict: It points elsewhere. Nothing changed.
            RegistryError: There is no such version. Nothing changed.
        """

    def anchor(self, model: str, version: str, text: str) -> None:
        """Keep the ledger's anchor on a version, in place of the one before.

        Raises:
            RegistryError: There is no such version.
        """


class Traffic(Protocol):
    """Runs model servers and splits requests between versions."""

    def deploy(self, model: str, version: str) -> None:
        """Start serving a version with no traffic, and return at once. Idempotent."""

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return every deployed version and whether it can answer now."""

    def problems(self, model: str) -> Mapping[str, str]:
        """Return why a deployed version can't answer; nothing of one that is only starting."""

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Split the traffic. Percent, summing to 100; only versions that are ready.

        Raises:
            TrafficError: The sum is wrong or a version isn't ready. Nothing changed.
        """

    def weights(self, model: str) -> Mapping[str, int]:
        """Return the split in force; empty before the first. Versions without traffic may be 0."""

    def retire(self, model: str, version: str) -> None:
        """Drain and stop a version. Idempotent.

        Raises:
            TrafficError: The version has weight. Nothing changed.
        """


class Metrics(Protocol):
    """Measures versions and relays what the monitor found."""

    def measure(self, query: MetricQuery) -> Compared:
        """Measure once, now.

        No data is ``value=None, samples=0``; an unknown metric is a ``problem``.

        Raises:
            MetricsError, Unavailable: The source can't answer. The loop makes that an ``ERROR``.
        """

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return every signal that is still of interest. Repeats are welcome."""


class Store(Protocol):
    """Keeps the loop's state, its ledger and its inbox, durably."""

    def load(self, model: str) -> Stored | None:
        """Return the state and its revision; None before the first write."""

    def compare_and_swap(
        self,
        model: str,
        state: State,
        revision: int,
        entries: Sequence[LedgerEntry],
        consumed: Sequence[str] = (),
    ) -> int:
        """Replace the state, append to the ledger and take ids from the inbox: all or nothing.

        ``revision`` is the one that ``load`` gave; 0 for the first write. Returns the new one.

        Raises:
            Conflict: Somebody else wrote first, or an entry doesn't follow the last. Unchanged.
        """

    def entries(self, model: str, after: int = 0) -> Iterator[LedgerEntry]:
        """Yield ledger entries with a sequence above ``after``, in order."""

    def submit(self, model: str, message: Message) -> bool:
        """Put a message in the inbox, durably. False when its id was ever there before."""

    def inbox(self, model: str) -> tuple[Message, ...]:
        """Return the messages not yet consumed, in order of arrival."""


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return an aware datetime in UTC."""


class Alerts(Protocol):
    """Tells a person. The state also lists every alert that is raised."""

    def raise_alert(self, model: str, alert: Alert) -> None:
        """Raise an alert, or repeat it. Idempotent by ``alert.name``."""

    def clear_alert(self, model: str, name: str) -> None:
        """Say that an alert is over. Does nothing when it is not raised."""
