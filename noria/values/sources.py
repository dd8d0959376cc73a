"""Who says what a label is: people's feedback, or a judge by its name."""

from __future__ import annotations

import re
from typing import Final

from noria.errors import InvalidInput, shorten

FEEDBACK: Final = "feedback"
"""The source of a label that names none: what really happened, or what a person says."""

SOURCE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$"
_SOURCE: Final = re.compile(SOURCE_PATTERN, re.ASCII)


def checked_source(name: str, where: str) -> str:
    """Return the name of a source.

    Raises:
        InvalidInput: It is none.
    """
    if _SOURCE.fullmatch(name) is None:
        raise InvalidInput(
            f"{where}: {shorten(name)} is not the name of a source",
            fix="write 1 to 64 letters, digits and . _ : / -, a letter or digit first: judge:rules",
        )
    return name


def outranks(source: str, other: str) -> bool:
    """Whether a label of a source takes the place of another's: feedback does of any judge's."""
    return source == FEEDBACK != other
