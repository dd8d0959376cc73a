"""The datatypes of the Open Inference Protocol, and their numpy and wire forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

Group = Literal["float", "integer", "boolean", "bytes"]


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype: its name, numpy type (little-endian), ``struct`` code and kind of value."""

    name: str
    dtype: np.dtype[Any]
    code: str
    group: Group

    @property
    def size(self) -> int:
        """Bytes per element; 0 for BYTES, whose elements carry their own length."""
        return 0 if self.group == "bytes" else self.dtype.itemsize


def _table() -> dict[str, Datatype]:
    rows: tuple[tuple[str, str, str, Group], ...] = (
        ("BOOL", "?", "?", "boolean"),
        ("INT8", "<i1", "b", "integer"),
        ("INT16", "<i2", "h", "integer"),
        ("INT32", "<i4", "i", "integer"),
        ("INT64", "<i8", "q", "integer"),
        ("UINT8", "<u1", "B", "integer"),
        ("UINT16", "<u2", "H", "integer"),
        ("UINT32", "<u4", "I", "integer"),
        ("UINT64", "<u8", "Q", "integer"),
        ("FP16", "<f2", "e", "float"),
        ("FP32", "<f4", "f", "float"),
        ("FP64", "<f8", "d", "float"),
        ("BYTES", "O", "", "bytes"),
    )
    return {name: Datatype(name, np.dtype(dtype), code, group) for name, dtype, code, group in rows}


DATATYPES: Final[Mapping[str, Datatype]] = _table()
