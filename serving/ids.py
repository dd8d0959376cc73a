"""Ids of requests that came without one."""

from __future__ import annotations

import os
import time
from typing import Final

_VERSION: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62
_RANDOM_B: Final = (1 << 62) - 1


def new_id() -> str:
    """Return a UUID of version 7: 48 bits of milliseconds, then 74 random bits.

    What came together sorts together, so that whoever keeps ids in a tree writes few of its
    pages. Source: RFC 9562, section 5.7.
    """
    chance = int.from_bytes(os.urandom(10), "big")
    moment = time.time_ns() // 1_000_000
    value = moment << 80 | _VERSION | (chance >> 68) << 64 | _VARIANT | chance & _RANDOM_B
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
