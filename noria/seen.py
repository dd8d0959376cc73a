"""Which categories training saw: hashes of their texts, so that a reference repeats none.

A model keeps the most frequent categories of a feature. Those beyond were seen all the
same; the monitor must tell them from ones that are new.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

MOST: Final = 200_000
"""The most hashes that a reference keeps of one feature, 1.6 MB."""


def hash_of(text: str) -> int:
    """Return the signed 64-bit hash of a category's text."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def hashes_of(texts: Iterable[str]) -> list[int]:
    """Return the hashes of categories, sorted, each once, at most ``MOST`` of them."""
    return sorted({hash_of(text) for text in texts})[:MOST]
