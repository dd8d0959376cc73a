"""A small JSON interface behind a gate: from a request to one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import msgspec

from noria.asgi.gate import Message, Receive, Scope, Send, as_json
from noria.asgi.refusal import Refused
from noria.errors import InvalidInput, NoriaError, shorten

JSON: Final = b"application/json"
_MAX_FIELDS: Final = 50
_BAD, _BUSY = 400, 503


class Answer(NamedTuple):
    """One answer. ``headers`` are further ones."""

    status: int
    body: bytes
    kind: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()


class Request:
    """One request; HEAD is asked as GET, and the server leaves the body out.

    ``headers`` have their names in lower case.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        method: str = scope["method"]
        self.method = "GET" if method == "HEAD" else method
        self.path: str = scope["path"]
        self.headers: dict[str, str] = scope["noria.headers"]
        self._scope = scope
        self._receive = receive

    @property
    def query(self) -> dict[str, str]:
        """The query's fields; of one that comes twice, the last.

        Raises:
            InvalidInput: There are too many.
        """
        text = self._scope["query_string"].decode("latin-1")
        if not text:
            return {}
        try:
            found = parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError as error:
            raise InvalidInput(f"query: {error}") from error
        return {name: values[-1] for name, values in found.items()}

    @property
    def media_type(self) -> str:
        """What the body is said to be, without parameters and in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def expect(self, *kinds: str) -> None:
        """Refuse a body of another type: a page of another site can send text and forms.

        Raises:
            Refused: It is none of ``kinds``.
        """
        if self.media_type not in kinds:
            said = shorten(self.media_type) if self.media_type else "missing"
            raise Refused(415, f"content-type: {said}, and {' or '.join(kinds)} is expected")

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            Refused: It is too large, too slow, or coded in a way that is not understood.
        """
        message: Message = await self._receive()
        content: bytes = message.get("body", b"")
        return content


def not_allowed(request: Request, methods: Sequence[str]) -> Refused:
    """Return the refusal of a method, with those that are allowed."""
    allowed = ", ".join(("GET", "HEAD") if methods == ("GET",) else methods)
    return Refused(
        405,
        f"method: {shorten(request.method)} is not allowed on {request.path}",
        ((b"allow", allowed.encode()),),
    )


class Api:
    """An ASGI application that asks a coroutine for each answer.

    Bad input is a 400 that names the field, trouble of our own (a disk, a cluster) a 503:
    both are ``{"error": text}``. Every other exception is the gate's.

    Args:
        route: Answers, or raises.
        answered: Is told each request and the status of its answer.
    """

    def __init__(
        self,
        route: Callable[[Request], Awaitable[Answer]],
        answered: Callable[[Request, Answer], None] = lambda *_: None,
    ) -> None:
        self._route = route
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            answer = await self._route(request)
        except Refused as refused:
            answer = _error(refused.status, str(refused), refused.headers)
        except InvalidInput as error:
            answer = _error(_BAD, str(error))
        except NoriaError as error:
            answer = _error(_BUSY, str(error))
        except RecursionError:
            answer = _error(_BAD, "body: nested too deeply")
        self._answered(request, answer)
        headers = [
            (b"content-type", answer.kind),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def answer_json(content: Any, status: int = 200) -> Answer:
    """Return a value as JSON."""
    return Answer(status, msgspec.json.encode(content))


def _error(status: int, message: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
    return Answer(status, as_json(status, message)[1], JSON, headers)
