"""What fits into the monitor's files: whatever comes from outside is held to it at the door."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from noria.errors import InvalidInput, NoriaError, shorten, traceback_tail
from noria.values import scalars

MAX_VERSION_CHARS: Final = 64
MAX_LABELS: Final = 100_000
MAX_ROWS: Final = 1_000_000
MAX_DEPTH: Final = 8
"""Of lists within a tensor's data."""

FIRST_MS: Final = -62_135_596_800_000
LAST_MS: Final = 253_402_300_799_999
"""The years 1 to 9999, in epoch milliseconds: what a calendar has, and an int64 holds."""
LAST_SECOND: Final = LAST_MS / 1000.0

_MAX_TIME_CHARS: Final = 64
_log = logging.getLogger(__name__)


def epoch_ms(value: Any, where: str) -> int:
    """Return a moment (ISO 8601 text, UTC when it does not say; or epoch ms) as epoch ms.

    Raises:
        InvalidInput: it is neither, or in no year from 1 to 9999.
    """
    if isinstance(value, str) and len(value) <= _MAX_TIME_CHARS:
        try:
            found: float = scalars.epoch_ms(value)
        except InvalidInput as error:
            raise InvalidInput(
                f"{where}: {shorten(value)} is not ISO 8601",
                fix="such as 2026-01-31T09:00:00Z, or send epoch milliseconds",
            ) from error
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = value
    else:
        raise InvalidInput(
            f"{where}: {shorten(value)} is not a time", fix="use ISO 8601 or epoch ms"
        )
    if not FIRST_MS <= found <= LAST_MS:
        raise InvalidInput(
            f"{where}: {shorten(value)} is in no year from 1 to 9999", fix="send epoch milliseconds"
        )
    return int(found)


def bounded_text(value: str, where: str, most: int) -> str:
    """Return a text that can be kept, and be shown as a label.

    Raises:
        InvalidInput: it is too long, or holds a NUL or half of a character.
    """
    if len(value) > most:
        raise InvalidInput(
            f"{where}: {shorten(value)} is over {most} characters long", fix="send less"
        )
    if "\0" in value or not _is_whole(value):
        raise InvalidInput(
            f"{where}: {shorten(value)} holds NUL, or half of a surrogate pair",
            fix="send text that UTF-8 can say, without NUL",
        )
    return value


def _is_whole(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def foreign(what: str = "it can't be read") -> Iterator[None]:
    """Refuse what can't be read, whatever breaks in the reading: it depends on the body alone.

    Raises:
        InvalidInput: it can't be read.
    """
    try:
        yield
    except NoriaError:
        raise
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"body: {what}: {error}") from error
    except Exception as error:
        _log.warning("a body can't be read: %s", traceback_tail(error))
        raise InvalidInput(f"body: {what}: {shorten(str(error))}") from error
