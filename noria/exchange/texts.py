"""An exchange of texts, and what is watched of it: numbers and categories, no text."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan
from typing import Final, TypeAlias

import msgspec

from noria.exchange.signature import Field, Signature

Described: TypeAlias = dict[str, float | str | None]
"""By field: its value, None where the exchange does not say it."""

ANSWER_ID: Final = "answer.id"
"""The key of an exchange: a label may name it by that, whatever the request's id is."""

OF_TEXTS: Final = Signature(
    "one request with its first answer",
    (
        Field("prompt.length", "number", "input"),
        Field("prompt.messages", "number", "input"),
        Field("prompt.images", "number", "input"),
        Field("answer.length", "number", "output"),
        Field("answer.tools", "number", "output"),
        Field("prompt.tokens", "number", "usage"),
        Field("answer.tokens", "number", "usage"),
        Field("answer.finish", "text", "output"),
        Field("answer.refused", "text", "output"),
        Field("answer.model", "text", "output"),
    ),
)
"""The columns of an exchange of texts."""


class Asked(msgspec.Struct, frozen=True):
    """A request: its texts, None where it has numbers of tokens instead, and how much else.

    ``aside`` says what of it was not read, by field, with the reason.
    """

    texts: tuple[str, ...] | None
    messages: int
    images: int = 0
    aside: dict[str, str] = {}


class Answered(msgspec.Struct, frozen=True):
    """The first answer: its texts, calls of tools, why it ended, who gave it, and tokens used.

    What the response does not say is None. ``id`` is the response's own. ``aside`` says what of
    it was not read.
    """

    texts: tuple[str, ...]
    tools: int = 0
    finish: str | None = None
    refused: bool = False
    model: str | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    id: str | None = None
    aside: dict[str, str] = {}


class Unread(msgspec.Struct, frozen=True):
    """A body that was not read: the reason, one of a few words, and the name of the server's model.

    ``model`` is None where the body does not say it.
    """

    reason: str
    model: str | None = None


def of_asked(asked: Asked) -> Described:
    """Return the fields of a request; lengths are in characters."""
    return {
        "prompt.length": None if asked.texts is None else length(asked.texts),
        "prompt.messages": float(asked.messages),
        "prompt.images": float(asked.images),
    }


def of_answered(answered: Answered | Unread) -> Described:
    """Return the fields of a response; of one that was not read only who gave it is known."""
    if isinstance(answered, Unread):
        return {**_NOTHING_ANSWERED, "answer.model": answered.model}
    return {
        "answer.length": length(answered.texts),
        "answer.tools": float(answered.tools),
        "prompt.tokens": _float(answered.prompt_tokens),
        "answer.tokens": _float(answered.answer_tokens),
        "answer.finish": answered.finish,
        "answer.refused": "true" if answered.refused else "false",
        "answer.model": answered.model,
    }


def length(texts: tuple[str, ...]) -> float:
    """Return how many characters (code points) texts have together."""
    return float(sum(map(len, texts)))


def describing(column: str) -> str:
    """Return the name of the column of numbers that is watched of an input that is a text."""
    return f"{column}.length"


def lengths(texts: Iterable[str | None]) -> list[float]:
    """Return what that column has of each text, its length; NaN where the text is missing."""
    return [nan if text is None else length((text,)) for text in texts]


def _float(count: int | None) -> float | None:
    return None if count is None else float(count)


_NOTHING_ANSWERED: Final[Described] = dict.fromkeys(
    (*(f.name for f in OF_TEXTS.fields if f.role == "output"), "prompt.tokens", "answer.tokens")
)
