"""The words of the pages in the languages there are, and which one a reader wants.

What the loop writes into its ledger is English in every language: it is evidence, hashed as
it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from noria.ui.words.en import ENGLISH
from noria.ui.words.ko import KOREAN
from noria.ui.words.particles import settle

CATALOGUES: Final[Mapping[str, Mapping[str, str]]] = {"en": ENGLISH, "ko": KOREAN}
NAMES: Final[Mapping[str, str]] = {"en": "English", "ko": "한국어"}
DEFAULT: Final = "en"

_MOST_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Words:
    """One language. ``language`` is its tag, as HTML's ``lang`` takes it."""

    language: str

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with its values put in; they are escaped by the page, not here."""
        said = CATALOGUES[self.language][key].format(**values)
        return settle(said) if self.language == "ko" else said

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in CATALOGUES[self.language]


def choose(asked: str | None, kept: str | None, accepted: str) -> Words:
    """Return the language that was asked for, kept from before, or accepted by the browser."""
    for wanted in (asked, kept):
        if wanted in CATALOGUES:
            return Words(str(wanted))
    return Words(_accepted(accepted))


def _accepted(header: str) -> str:
    """Read ``Accept-Language`` (RFC 9110, 12.5.4): the language of the greatest weight."""
    best, most = DEFAULT, 0.0
    for part in header[:_MOST_CHARS].split(","):
        tag, _, weight = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language in CATALOGUES and (share := _weight(weight)) > most:
            best, most = language, share
    return best


def _weight(said: str) -> float:
    name, _, value = said.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
