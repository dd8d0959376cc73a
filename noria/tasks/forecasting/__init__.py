"""The task family ``forecasting``: many series, each some steps ahead."""

from typing import Final

HISTORY: Final = "history"
"""The column of a series' newest values."""
