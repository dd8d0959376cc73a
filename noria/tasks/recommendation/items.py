"""Items by their names: lists of them as one text, and each as one number.

The monitor measures numbers. An item has the same number in every version, so that a label that
comes later finds what was recommended, whichever version recommended it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEPARATOR: Final = "|"
"""Between the items of a list; no item's name holds it."""

NOTHING: Final = -1.0
"""In the place of an item, where there is none."""

_HASHED: Final = 2**52
_DIGITS: Final = 16


def joined(items: Iterable[str]) -> str:
    """Return a list of items as one text."""
    return SEPARATOR.join(items)


def listed(text: object) -> list[str]:
    """Return the items of a text; none of one that is missing or empty."""
    if not isinstance(text, str):
        return []
    return [name for part in text.split(SEPARATOR) if (name := part.strip())]


def number_of(item: str) -> float:
    """Return the number of an item, from 0 to 2^53, which a float64 holds exactly.

    A whole number under 2^52, written as such, is its own; every other name is hashed to
    one from 2^52 on (52 bits of SHA-256: of a million names two are the same once in 9,000 times).
    """
    if item.isascii() and item.isdigit() and len(item) < _DIGITS and str(int(item)) == item:
        return float(int(item))
    hashed = int.from_bytes(sha256(item.encode()).digest()[:7], "big") >> 4
    return float(_HASHED + hashed)


def numbers_of(items: Sequence[str]) -> Array:
    """Return the number of each item, (n,)."""
    return np.array([number_of(item) for item in items], np.float64)
