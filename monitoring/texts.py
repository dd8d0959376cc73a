"""From a body of OpenAI's API to what the log keeps of it: columns that describe it, no text."""

from __future__ import annotations

from array import array
from typing import Final

from monitoring.events import Event
from monitoring.keys import keys_of
from monitoring.records import AsideRecord, RequestRecord, ResponseRecord
from monitoring.table import MISSING
from noria.cloudevents import REQUEST_TYPE
from noria.exchange.openai import read_request, read_response
from noria.exchange.texts import (
    ANSWER_ID,
    OF_TEXTS,
    Described,
    Unread,
    of_answered,
    of_asked,
)
from noria.predictions import LONG, DictColumn, Values

_NAN: Final = float("nan")
_FIRST: Final = array("i", [0]).tobytes()
_NONE: Final = DictColumn((), array("i", [MISSING]).tobytes())
_TEXTS: Final = frozenset(field.name for field in OF_TEXTS.fields if field.type == "text")


def read_text(event: Event) -> RequestRecord | ResponseRecord | AsideRecord:
    """Return what the log keeps of an event; nothing is raised.

    A request that can't be read is no exchange of texts: it has no row. An answer that can't be
    read leaves its own columns missing, so that the request and its labels are kept.
    """
    if event.type == REQUEST_TYPE:
        asked = read_request(event.body)
        if isinstance(asked, Unread):
            return AsideRecord(event.id, {"request": asked.reason})
        columns = _columns(of_asked(asked))
        return RequestRecord(event.id, event.version, 1, columns, aside=asked.aside)
    answered = read_response(event.body)
    columns = _columns(of_answered(answered))
    if isinstance(answered, Unread):
        aside = {"answer": answered.reason}
        return ResponseRecord(event.id, event.version, 1, b"", aside, columns)
    keys, is_long = keys_of([[answered.id]])
    aside = {**answered.aside, **({ANSWER_ID: LONG} if is_long else {})}
    return ResponseRecord(event.id, event.version, 1, b"", aside, columns, keys)


def _columns(described: Described) -> dict[str, Values]:
    return {name: _column(name, value) for name, value in described.items()}


def _column(name: str, value: float | str | None) -> Values:
    if name in _TEXTS:
        return _NONE if value is None else DictColumn((str(value),), _FIRST)
    return array("d", [_NAN if value is None else float(value)]).tobytes()
