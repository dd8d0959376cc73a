"""The names of a row's targets: what each number of a prediction is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from noria.errors import InvalidInput, shorten

MAX_TARGETS: Final = 20_000
MAX_NAME_CHARS: Final = 128


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
