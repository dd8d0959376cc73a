"""Values between Feast's types and the one rule (``noria.values``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from noria.errors import InvalidInput
from noria.tasks.sources.typed import read_as
from noria.values import moment, text

NUMBERS: Final = frozenset({"INT32", "INT64", "FLOAT", "DOUBLE", "BOOL"})
"""Feast types that are numbers; a BOOL is 0 or 1."""

_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_BITS: Final[Mapping[str, int]] = {"INT32": 31, "INT64": 63}


def key_of(value: Any, kind: str) -> Any:
    """Return a join key in the entity's own type; None when it is missing, or can't be one.

    "501", 501 and 501.0 are one key of an INT64 entity; "501.0" and "x" are keys of none.
    """
    written = text(value)
    if written is None:
        return None
    if kind in _BITS:
        found = int(written) if _WHOLE.fullmatch(written) else None
        return found if found is not None and found.bit_length() <= _BITS[kind] else None
    if kind == "BOOL":
        return {"true": True, "false": False, "1": True, "0": False}.get(written)
    try:
        if kind in ("FLOAT", "DOUBLE"):
            return float(written)
        if kind == "UNIX_TIMESTAMP":
            return moment(written)
    except (ValueError, InvalidInput):
        return None
    return written.encode() if kind == "BYTES" else written


def text_of(value: Any, kind: str) -> str | None:
    """Return a stored value as a category; Feast hands float32 out as float64."""
    return text(np.float32(value) if kind == "FLOAT" and value is not None else value)


def as_declared(rows: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return source rows whose texts and numbers Feast can store in their declared types.

    Raises:
        DataError: A value does not fit.
    """
    columns = {}
    for name, kind in kinds.items():
        if kind == "STRING":
            columns[name] = read_as(rows[name], "text")
        elif kind in ("FLOAT", "DOUBLE") and rows[name].dtype == object:
            columns[name] = read_as(rows[name], "number")
    return rows.assign(**columns)
