"""What the registry's list of versions and aliases says, as rows, and the port that reads it.

Two catalogs read MLflow: ``SqliteCatalog`` goes straight to the tables of a local database,
``ServerCatalog`` asks any MLflow by its client. A test holds that both say the same. What
either can't read is an error, never an empty list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from noria.errors import Conflict

PREFIX: Final = "noria."
"""Every tag of ours starts so; a version without ``noria.run_id`` is not ours."""

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
"""Aliases: the version that is served, and the newest that was registered to take its place."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version: its number, creation time in ms since the epoch, and our tags without prefix."""

    version: int
    created_ms: int
    tags: Mapping[str, str]


class Catalog(Protocol):
    """Reads versions and aliases, and moves an alias by compare-and-swap.

    All methods raise RegistryError, or Unavailable where trying again may help.
    """

    def versions(self, model: str) -> tuple[VersionRow, ...]:
        """Return every version, oldest first; empty for an unknown model."""

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version an alias points at, or None."""

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Move an alias if it points at ``expected``; raises Conflict when it does not.

        A version that becomes the champion is no longer the challenger.
        """

    def challenge(self, model: str, version: str) -> None:
        """Point the challenger at a version, unless that is the champion already."""

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Set a tag of ours (``key`` without the prefix) on a version, in place of its value."""


def our_tags(tags: Mapping[str, str | None]) -> dict[str, str]:
    """Return the tags that are ours, without their prefix."""
    return {
        key.removeprefix(PREFIX): value or ""
        for key, value in tags.items()
        if key.startswith(PREFIX)
    }


def refuse_stale(model: str, alias: str, expected: str | None, found: str | None) -> None:
    """Raise Conflict unless the alias points where the caller thinks it does."""
    if found != expected:
        raise Conflict(
            f"{model}: alias {alias!r} points at {found or 'nothing'}, "
            f"not at {expected or 'nothing'}",
            fix="somebody moved it first; read it again and decide again",
        )
