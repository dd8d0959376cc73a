"""A tensor of a V2 body, as it is read: its values are looked at only where they are watched."""

from __future__ import annotations

from typing import Any, Final

import msgspec

BYTES: Final = "BYTES"


class Tensor(msgspec.Struct):
    """A named tensor; ``data`` may be flat or nested lists."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
