"""The task family ``recommendation``: what each user takes next."""

from typing import Final

HISTORY: Final = "history"
"""The column of the items that a user has taken, the newest last."""

EXCLUDE: Final = "exclude"
"""The column of items that are not to be answered."""

ONLY: Final = "only"
"""The column of the items that alone may be answered."""
