"""The last word of a step that fails: one line of its log that a machine finds again.

A log has more lines than Python's own: those of KFP's launcher and of Argo come before
and after a traceback, and none of them says where the message ends.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable
from typing import Final, ParamSpec, TypeVar

from noria.errors import NoriaError

P = ParamSpec("P")
T = TypeVar("T")

MARK: Final = "noria: the step failed: "
MAX_REASON_CHARS: Final = 4000


def says_why(step: Callable[P, T]) -> Callable[P, T]:
    """Let a step write the line to standard error before its exception leaves it."""

    @functools.wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return step(*args, **kwargs)
        except Exception as error:
            sys.stderr.write(f"\n{MARK}{json.dumps(_reason(error))}\n")
            sys.stderr.flush()
            raise

    return run


def said(lines: Iterable[str]) -> str:
    """Return what the last such line says; empty when there is none."""
    found = ""
    for line in lines:
        _, mark, text = line.partition(MARK)
        if mark:
            found = _text(text) or found
    return found


def _reason(error: Exception) -> str:
    """Return the message; of an error that is not Noria's, its class before it."""
    message = str(error).strip()
    if not (isinstance(error, NoriaError) and message):
        message = f"{type(error).__name__}: {message}".rstrip(": ")
    return message[:MAX_REASON_CHARS]


def _text(written: str) -> str:
    try:
        found = json.loads(written)
    except ValueError:
        return ""
    if not isinstance(found, str):
        return ""
    # It ends on terminals: no sequence that commands one gets through.
    return "".join(c if c.isprintable() or c == "\n" else " " for c in found[:MAX_REASON_CHARS])
