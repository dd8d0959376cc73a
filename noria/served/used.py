"""Which rows of a version's training data were served: what its card and its tags say."""

from __future__ import annotations

import msgspec


class ServedRows(msgspec.Struct, frozen=True):
    """Which rows of a frame were served.

    ``digest`` is a SHA-256 of exactly those rows, with the requests that they came with;
    ``known`` is how many the table had at that moment, the source's among them; ``first`` and
    ``last`` are when the labels came. ``set_aside`` names parts that were damaged, whose rows
    are missing. ``source`` says whether the source was read.
    """

    rows: int
    known: int
    digest: str = ""
    first: str = ""
    last: str = ""
    parts: int = 0
    set_aside: tuple[str, ...] = ()
    source: bool = True
