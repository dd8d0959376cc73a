r"""Entity keys as one text each: what labels name rows by.

A key of one column is its value. Of several columns the values are joined by ``|``,
with ``\\`` before each ``|`` and ``\\`` of their own, so that no two keys are alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from monitoring.limits import bounded_text, epoch_ms
from monitoring.table import text_of
from noria.errors import InvalidInput, shorten

MAX_KEY_CHARS: Final = 512
NO_KEY: Final = ""
"""Of a row that lacks a part of its key: no label can name it."""
KEYS: Final = "entityKey"
"""What rows' keys are called when they are set aside."""
_SEPARATOR: Final = "|"
_ESCAPE: Final = "\\"


def joined(parts: Sequence[Any]) -> str:
    """Return a row's key; ``NO_KEY`` when a part is missing."""
    if any(part is None for part in parts):
        return NO_KEY
    texts = [text_of(part) for part in parts]
    return texts[0] if len(texts) == 1 else _SEPARATOR.join(map(_escaped, texts))


def keys_of(columns: Sequence[Iterable[Any]]) -> tuple[tuple[str, ...], bool]:
    """Return the key of each row, of its key columns' values, and whether one was too long.

    What is missing is None. No label can name a row by a key that is longer than a key may be: it
    has ``NO_KEY``.
    """
    if len(columns) == 1:
        keys = tuple(NO_KEY if value is None else text_of(value) for value in columns[0])
    else:
        keys = tuple(map(joined, zip(*columns, strict=True)))
    if max(map(len, keys), default=0) > MAX_KEY_CHARS:
        return tuple(key if len(key) <= MAX_KEY_CHARS else NO_KEY for key in keys), True
    return keys, False


def read_key(
    key: str | list[str | int | float | bool],
    names: Sequence[str],
    where: str,
    event_time: str | None = None,
) -> str:
    """Return the key that a label names, as ``joined`` writes it.

    Args:
        key: the text, or the list of the values of all key columns.
        names: the key columns of the model.
        where: the label's place in what was sent.
        event_time: the column among them that is a time.

    Raises:
        InvalidInput: it is no key of these columns.
    """
    if isinstance(key, list):
        if len(key) != len(names):
            raise InvalidInput(
                f"{where}: {shorten(key)} has {len(key)} values",
                fix=f"send one for each of {shorten(list(names))}" if names else _NO_COLUMNS,
            )
        timed = zip(names, key, strict=True)
        key = joined([epoch_ms(v, where) if name == event_time else v for name, v in timed])
    elif event_time in names:
        raise InvalidInput(
            f"{where}: {shorten(key)} is not a key of {shorten(list(names))}",
            fix="send a list of their values, the time as ISO 8601 or epoch milliseconds",
        )
    elif len(names) > 1 and _parts(key) != len(names):
        raise InvalidInput(
            f"{where}: {shorten(key)} is not a key of {shorten(list(names))}",
            fix="send a list of their values",
        )
    if not key or len(key) > MAX_KEY_CHARS:
        raise InvalidInput(
            f"{where}: {shorten(key)} is empty or over {MAX_KEY_CHARS} long",
            fix=f"send the value of {shorten(list(names))}" if names else _NO_COLUMNS,
        )
    return bounded_text(key, where, MAX_KEY_CHARS)


_NO_COLUMNS: Final = "set spec.data.entityKey to label rows by key"


def _escaped(text: str) -> str:
    return text.replace(_ESCAPE, _ESCAPE * 2).replace(_SEPARATOR, _ESCAPE + _SEPARATOR)


def _parts(key: str) -> int:
    bare = key.replace(_ESCAPE * 2, "").replace(_ESCAPE + _SEPARATOR, "")
    return bare.count(_SEPARATOR) + 1
