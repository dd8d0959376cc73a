"""The clocks that a loop goes by: the wall's, and one that a replay moves."""

from __future__ import annotations

from datetime import UTC, datetime


class WallClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """Return an aware datetime in UTC."""
        return datetime.now(UTC)


class ReplayClock:
    """A clock that stands still until it is told to move; it never goes back."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """Return an aware datetime in UTC."""
        return self._now

    def advance(self, to: datetime) -> None:
        """Move to ``to``; does nothing when that is past."""
        self._now = max(self._now, to.astimezone(UTC))
