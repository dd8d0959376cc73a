"""Requests and responses of OpenAI's API: chat completions and completions, streamed or not.

The path is not needed: a request with ``messages`` is a chat's, one with ``prompt`` a
completion's, under ``/v1`` or ``/openai/v1``, as KServe serves them. Nothing is raised: a body
that can't be read is ``Unread``, with the reason.

Sources: OpenAI's API reference (chat, completions); server-sent events: HTML Standard, 9.2.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from noria.exchange.texts import Answered, Asked, Unread

MALFORMED: Final = "malformed"
TRUNCATED: Final = "truncated"
UNKNOWN: Final = "unknown"
LARGE: Final = "large"
FAILED: Final = "error"
"""Why a body is not read: it is no JSON and no stream, it ends too early, it has no shape that is
known here, it holds more than is looked at, the server says that it failed."""

SEVERAL: Final = "several"
TOKENS: Final = "tokens"
PART: Final = "part"
LONG: Final = "long"
"""Why a part of an exchange is not read: it is not the first, a prompt of token numbers, a part of
a message that is neither text nor image, a name that is too long."""

MAX_MESSAGES: Final = 10_000
"""Of one request; parts of messages, and prompts, are held to it, too."""

MAX_CHUNKS: Final = 1 << 18
"""Of one streamed response: a token each, and more than models write at once."""

_MAX_NAME_CHARS: Final = 256
_MAX_TOKENS: Final = 1 << 53
_IMAGES: Final = frozenset({"image", "image_url", "input_image"})
_TEXTS: Final = frozenset({"text", "input_text", "output_text", "refusal"})
_FILTERED: Final = "content_filter"
_DONE: Final = b"[DONE]"
_FIELD: Final = b"data"
_LINE: Final = re.compile(rb"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_STREAM: Final = (b"data", b":", b"event", b"id", b"retry")
_CUT: Final = "truncated"
"""What msgspec says of a text that ends too early."""


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part | str] | None = None


class _Request(msgspec.Struct):
    messages: list[_Message] | msgspec.UnsetType = msgspec.UNSET
    prompt: str | list[Any] | msgspec.UnsetType = msgspec.UNSET


class _Said(msgspec.Struct):
    """A message of an answer, or a piece of one."""

    content: str | list[_Part | str] | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    # Whatever they are: a server that counts strangely has answered all the same.
    prompt_tokens: Any = None
    completion_tokens: Any = None


class _Response(msgspec.Struct):
    choices: list[_Choice] | msgspec.UnsetType | None = msgspec.UNSET
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None


_request = msgspec.json.Decoder(_Request)
_response = msgspec.json.Decoder(_Response)
_text = msgspec.json.Decoder(str)


def read_request(body: bytes | memoryview) -> Asked | Unread:
    """Read a request. Of several prompts the first is the sample."""
    if not body:
        # Whatever has no body, such as a question for the models that are served.
        return Unread(UNKNOWN)
    try:
        found = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unread(_why(error))
    if found.messages is not msgspec.UNSET:
        return _chat(found.messages)
    if found.prompt is not msgspec.UNSET:
        return _completion(found.prompt)
    return Unread(UNKNOWN)


def read_response(body: bytes | memoryview) -> Answered | Unread:
    """Read a response. Of several choices the first is the answer.

    A stream that ends before its answer does is ``TRUNCATED``: how long the answer was is unknown.
    """
    try:
        whole = bytes(body).lstrip()
        if not whole:
            return Unread(UNKNOWN)
        if whole.startswith(b'"'):
            # A stream as a text: how CloudEvents in JSON hold what is no JSON.
            whole = _text.decode(whole).encode().lstrip()
        if whole.startswith(_STREAM):
            return _streamed(_events(whole))
        return _answer([_response.decode(whole)])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Unread(_why(error))


def _why(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return UNKNOWN
    return TRUNCATED if _CUT in str(error) else MALFORMED


def _chat(messages: list[_Message]) -> Asked | Unread:
    if len(messages) > MAX_MESSAGES:
        return Unread(LARGE)
    texts: list[str] = []
    images, others, parts = 0, False, 0
    for message in messages:
        if not isinstance(message.content, list):
            texts += [message.content] if message.content else []
            continue
        parts += len(message.content)
        for part in message.content:
            if isinstance(part, str):
                texts.append(part)
            elif part.type in _IMAGES:
                images += 1
            elif part.type in _TEXTS:
                texts.append(part.text or "")
            else:
                others = True
    if parts > MAX_MESSAGES:
        return Unread(LARGE)
    return Asked(tuple(texts), len(messages), images, {"prompt": PART} if others else {})


def _completion(prompt: str | list[Any]) -> Asked | Unread:
    if isinstance(prompt, str):
        return Asked((prompt,), 1)
    if prompt and all(type(token) is int for token in prompt):
        return Asked(None, 1, aside={"prompt": TOKENS})
    if len(prompt) > MAX_MESSAGES:
        return Unread(LARGE)
    first = prompt[0] if prompt else None
    aside = {"prompt": SEVERAL} if len(prompt) > 1 else {}
    if isinstance(first, str):
        return Asked((first,), 1, aside=aside)
    if isinstance(first, list):
        return Asked(None, 1, aside=aside or {"prompt": TOKENS})
    return Unread(UNKNOWN)


def _events(stream: bytes) -> Iterator[bytes]:
    """Yield the data of each server-sent event; the last one may lack its blank line."""
    data: list[bytes] = []
    # One line at a time: of a hostile stream the list would be many times the stream.
    for line in (found[1] for found in _LINE.finditer(stream)):
        if not line:
            if data:
                yield b"\n".join(data)
            data = []
            continue
        name, _, value = line.partition(b":")
        if name == _FIELD:
            data.append(value.removeprefix(b" "))
    if data:
        yield b"\n".join(data)


def _streamed(events: Iterable[bytes]) -> Answered | Unread:
    chunks: list[_Response] = []
    done = False
    model = None
    for event in events:
        if event == _DONE:
            done = True
            break
        try:
            chunk = _response.decode(event)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Cut within an event; whatever follows is not of this stream.
            return Unread(TRUNCATED, model)
        model = model or _named(chunk.model)[0]
        if len(chunks) == MAX_CHUNKS:
            return Unread(LARGE, model)
        chunks.append(chunk)
    found = _answer(chunks)
    if isinstance(found, Answered) and not done and found.finish is None:
        return Unread(TRUNCATED, model)
    return found


def _answer(pieces: list[_Response]) -> Answered | Unread:
    """Put together the first answer of a response, or of the chunks of a streamed one."""
    models = [piece.model for piece in pieces if piece.model]
    model, aside = _named(models[0] if models else None)
    if any(piece.error for piece in pieces):
        return Unread(FAILED, model)
    choices = [one for piece in pieces for one in (piece.choices or ())]
    if not choices:
        return Unread(UNKNOWN, model)
    first = min(one.index for one in choices)
    if any(one.index != first for one in choices):
        aside["answer"] = SEVERAL
    texts: list[str] = []
    tools: set[object] = set()
    finish, refused = None, False
    for one in choices:
        if one.index != first:
            continue
        said = one.message or one.delta or _Said()
        texts += filter(None, (one.text, *_written(said.content), said.refusal))
        refused = refused or bool(said.refusal)
        tools |= set(_tools(said, streamed=one.delta is not None))
        finish = one.finish_reason or finish
    usage = next((piece.usage for piece in reversed(pieces) if piece.usage), None) or _Usage()
    finish, long = _named(finish, "answer.finish")
    return Answered(
        tuple(texts),
        len(tools),
        finish,
        refused or finish == _FILTERED,
        model,
        _count(usage.prompt_tokens),
        _count(usage.completion_tokens),
        next((piece.id for piece in pieces if piece.id), None),
        {**aside, **long},
    )


def _written(content: str | list[_Part | str] | None) -> Iterator[str]:
    for part in content if isinstance(content, list) else (content,):
        text = part.text if isinstance(part, _Part) else part
        if text:
            yield text


def _tools(said: _Said, *, streamed: bool) -> Iterator[object]:
    """Yield what tells calls of tools apart: pieces of one have its number."""
    for place, call in enumerate(said.tool_calls or ()):
        number = call.get("index") if streamed else None
        yield number if isinstance(number, int) else place
    if said.function_call:
        yield "function"


def _named(name: str | None, field: str = "answer.model") -> tuple[str | None, dict[str, str]]:
    """Return a name that may be a category, and why it may not."""
    if name is not None and len(name) > _MAX_NAME_CHARS:
        return None, {field: LONG}
    return name or None, {}


def _count(given: Any) -> int | None:
    return given if type(given) is int and 0 <= given <= _MAX_TOKENS else None
