"""Words for messages: lists of choices, and what somebody probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def choose(choices: Iterable[str]) -> str:
    """Return ``choose one of a, b, c``; with one choice ``write a``."""
    known = tuple(choices)
    return f"write {known[0]}" if len(known) == 1 else f"choose one of {', '.join(known)}"


def did_you_mean(wrong: str, choices: Iterable[str]) -> str:
    """Return ``did you mean NAME?`` for the nearest choice, or an empty text if none is near."""
    by_letters = {_letters(choice): choice for choice in choices}
    near = difflib.get_close_matches(_letters(wrong), list(by_letters), n=1, cutoff=0.7)
    return f"did you mean {by_letters[near[0]]}?" if near else ""


def meant_or_choose(wrong: str, choices: Iterable[str]) -> str:
    """Return what was probably meant, else the choices."""
    known = tuple(choices)
    return did_you_mean(wrong, known) or choose(known)


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()
