"""What is watched of an input that is a moment: no date, but how long before the event it was."""

from __future__ import annotations


def days_of(column: str) -> str:
    """Return the name of the column of numbers that is watched of a moment beside an event time."""
    return f"{column}.days"
