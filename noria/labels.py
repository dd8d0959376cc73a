"""What labels are named by: the targets of a row, and who says what they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from noria.errors import InvalidInput, shorten

FEEDBACK: Final = "feedback"
"""The source of a label that names none: what really happened, or what a person says."""

SOURCE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$"
MAX_TARGETS: Final = 20_000
MAX_NAME_CHARS: Final = 128

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


def counted(width: int) -> tuple[str, ...]:
    """Return what a row's targets are called where they have no names and each needs one."""
    return tuple(f"target[{place}]" for place in range(width))


def checked_targets(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Return names by which targets can be told from each other, wherever they are shown.

    Args:
        names: One for each number of a row's prediction, in order; empty: they have none.
        where: The names' place in what they came with.

    Raises:
        InvalidInput: One is empty, too long, not printable as it stands, or comes twice.
    """
    if len(names) > MAX_TARGETS:
        raise InvalidInput(f"{where}: {len(names)} names, over {MAX_TARGETS}")
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
            raise InvalidInput(
                f"{where}[{place}]: {shorten(name)} is no name",
                fix=f"write 1 to {MAX_NAME_CHARS} printable characters without spaces around them",
            )
        if seen.setdefault(name, place) != place:
            raise InvalidInput(
                f"{where}[{place}]: {shorten(name)} is already [{seen[name]}]",
                fix="give each target its own name",
            )
    return tuple(names)
