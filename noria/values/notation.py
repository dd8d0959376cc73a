"""The fields of a CSV file: texts, from which numbers, booleans and moments are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noria.errors import InvalidInput, shorten
from noria.values import columns, scalars
from noria.values.columns import Fault, Role

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_CLASS: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.0+)?", re.ASCII)
_DIGITS: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DATE: Final = re.compile(r"(19|20)[0-9]{6}", re.ASCII)
_TRUTH: Final = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class Notation:
    """How a CSV file writes its values: what is missing, the decimal sign, the form of times."""

    missing: frozenset[str] = frozenset({""})
    decimal: str = "."
    date_format: str | None = None

    def read_column(self, values: Any, role: Role) -> tuple[np.ndarray, Fault | None]:
        """Read n fields (Arrow strings, null for missing) as their role; see ``columns``."""
        if role == "weight":
            return columns.weighed(*self.read_column(values, "number"))
        fields = columns.arrow(values)
        if role == "number" and (found := self._all_numbers(fields)) is not None:
            return found, None
        written, fault = columns.texts(fields)
        if fault is not None or role == "text":
            return written, fault
        # A number, a boolean or a moment has no other use for what means missing, quoted or not.
        if role != "label":
            empty = self.missing | {""}
            written[[text is not None and text.strip() in empty for text in written]] = None
        if role == "label":
            return _classes(written)
        if role == "time":
            return self._moments(written)
        return _distinct(written, self._number if role == "number" else self._truth)

    def _all_numbers(self, fields: pa.Array) -> np.ndarray | None:
        """Return all fields as numbers at once; None where one of them needs a closer look."""
        import pyarrow as pa
        import pyarrow.compute as pc

        plain = pc.utf8_trim_whitespace(fields)
        empty = pc.is_in(plain, value_set=pa.array(sorted(self.missing | {""}), plain.type))
        plain = pc.if_else(empty, pa.scalar(None, plain.type), plain)
        if self.decimal != ".":
            plain = pc.replace_substring(plain, self.decimal, ".")
        pattern = rf"^(?:{_NUMBER.pattern})$"
        matching = pc.match_substring_regex(plain, pattern)
        thousands = self.decimal != "." and pc.any(pc.match_substring(fields, ".")).as_py()
        if thousands or pc.all(matching).as_py() is False:
            return None
        found: np.ndarray = plain.cast(pa.float64()).to_numpy(zero_copy_only=False)
        known = found[~np.isnan(found)]
        exact = not known.size or np.abs(known).max() < scalars.whole_limit(found.dtype)
        return found if exact else None

    def _number(self, text: str) -> float:
        plain = text.strip()
        if self.decimal != "." and "." not in plain:
            plain = plain.replace(self.decimal, ".")
        elif self.decimal != ".":
            plain = ""
        if not _NUMBER.fullmatch(plain):
            other = "," if self.decimal == "." else "."
            as_other = _NUMBER.fullmatch(text.strip().replace(other, "."))
            raise InvalidInput(
                f"{shorten(text, 60)} is not a number",
                fix=f"write numbers with {self.decimal!r}, or set "
                f"spec.data.source.csv.decimal to {other!r}"
                if as_other and other in text
                else "give numbers, declare the column categorical, or add the text to "
                "spec.data.source.csv.missingValues if it means missing",
            )
        found = float(plain)
        if _DIGITS.fullmatch(plain):
            return scalars.number(int(plain)) if len(plain) <= 64 else scalars.number(found)
        return scalars.number(found)

    def _truth(self, text: str) -> float:
        found = _TRUTH.get(text.strip().lower())
        if found is None and _NUMBER.fullmatch(text.strip()):
            found = float(text)
        if found not in (0.0, 1.0):
            raise InvalidInput(
                f"{shorten(text, 60)} is not true or false",
                fix="give true and false, or 0 and 1; declare the column categorical; or add the "
                "text to spec.data.source.csv.missingValues if it means missing",
            )
        return found

    def _moments(self, written: np.ndarray) -> tuple[np.ndarray, Fault | None]:
        if self.date_format is not None:
            return columns.instants(written, self._by_format)
        known = [text.strip() for text in written if text is not None]
        dates = all(_DATE.fullmatch(text) for text in known)
        if known and not dates and all(_DIGITS.fullmatch(text) for text in known):
            import pyarrow as pa

            values, fault = _distinct(written, self._number)
            return (
                columns.milliseconds(pa.array(values, from_pandas=True))
                if fault is None
                else (
                    np.full(len(written), "NaT", "datetime64[us]"),
                    fault,
                )
            )
        return columns.instants(written, scalars.moment)

    def _by_format(self, text: str) -> datetime:
        try:
            # Without %z it is UTC, as every moment without a zone.
            found = datetime.strptime(text.strip(), self.date_format or "")  # noqa: DTZ007
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"{shorten(text, 60)} is not {self.date_format}") from error


def _classes(written: np.ndarray) -> tuple[np.ndarray, Fault | None]:
    """Read classes: booleans if all are true or false, integers if all are, else texts."""
    import pandas as pd

    places, distinct = pd.factorize(written)
    if all(text.lower() in _TRUTH for text in distinct):
        table = np.array([*(text.lower() == "true" for text in distinct), None], dtype=object)
        return table[places], None
    if all(_CLASS.fullmatch(text) for text in distinct):
        table = np.array([*(scalars.text(Decimal(text)) for text in distinct), None], dtype=object)
        return columns.whole(table[places])
    return written, None


def _distinct(written: np.ndarray, read: Callable[[str], float]) -> tuple[np.ndarray, Fault | None]:
    import pandas as pd

    places, distinct = pd.factorize(written)
    return columns.mapped(list(distinct), places, read, np.dtype(np.float64), np.nan)
