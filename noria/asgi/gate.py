"""What every request passes on its way to an application, and every answer on its way back."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from noria.asgi.body import Bodies, Body, Gone
from noria.asgi.bounds import Bounds
from noria.asgi.hosts import Hosts, from_elsewhere
from noria.asgi.refusal import Refused
from noria.errors import shorten, traceback_tail

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH: Final = frozenset({"/healthz", "/livez", "/readyz"})
"""Paths that are answered however much else is worked on."""

_BUSY: Final = ((b"retry-after", b"1"),)
_MOST_CHARS: Final = 1000
_LINES: Final = 10
_LINES_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


def as_json(status: int, message: str) -> tuple[bytes, bytes]:
    """Return a refusal as ``{"error": text}``: its type, and its bytes."""
    del status
    return b"application/json", json.dumps({"error": _bounded(message)}).encode()


def as_text(status: int, message: str) -> tuple[bytes, bytes]:
    """Return a refusal as a line of text: its type, and its bytes."""
    del status
    text = f"{_bounded(message)}\n"
    return b"text/plain; charset=utf-8", text.encode("utf-8", "backslashreplace")


def _bounded(message: str) -> str:
    """Return the start of a message: what a client sent is never repeated whole."""
    return message if len(message) <= _MOST_CHARS else f"{message[: _MOST_CHARS - 1]}…"


class Failures:
    """Logs what nobody foresaw, within bounds: a client must not be able to fill the disk."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._since = elapsed()
        self._lines = 0
        self._untold = 0

    def tell(self, what: str, error: BaseException) -> None:
        """Log one failure, unless enough were logged within a minute: then it is counted."""
        now = self._elapsed()
        if now - self._since > _LINES_SECONDS:
            self._since, self._lines = now, 0
        if self._lines >= _LINES:
            self._untold += 1
            return
        self._lines += 1
        untold, self._untold = self._untold, 0
        more = f" ({untold} more failures were not logged)" if untold else ""
        _log.error("%s failed%s: %s", what, more, traceback_tail(error))


class Gate:
    """An ASGI application around another.

    A name that is not ours, a browser that another site sent, a path that two readers could
    read as two: refused before the application is asked. A body is read whole, within the
    bounds, when the application first asks for it. An exception that leaves the application
    is a 500 and a bounded line in the log.

    Args:
        app: The application.
        bounds: Of the server.
        hosts: The names that it answers to.
        refuse: Makes type and bytes of an answer from status and message.
        refused: Is told what the application never saw: the scope, and the status.
    """

    def __init__(
        self,
        app: Application,
        bounds: Bounds,
        hosts: Hosts,
        *,
        refuse: Callable[[int, str], tuple[bytes, bytes]] = as_json,
        refused: Callable[[Scope, int], None] = lambda *_: None,
    ) -> None:
        self.bounds = bounds
        self.refuse = refuse
        self.failures = Failures()
        self._app = app
        self._hosts = hosts
        self._refused = refused
        self._bodies = Bodies(bounds)
        self._working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = scope["noria.headers"] = _joined(scope["headers"])
        whole = scope.get("noria.whole", bool)
        body = Body(self._bodies, self.bounds, headers, receive, whole)
        started = inside = read = False

        async def read_whole() -> Message:
            nonlocal read
            if read:
                return await receive()
            # Who waits for a client does not work.
            self._working -= 1
            try:
                content = await body.read()
            finally:
                self._working += 1
            read = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def sent(message: Message) -> None:
            nonlocal started
            started = True
            self._working -= 1
            try:
                await send(message)
            finally:
                self._working += 1

        try:
            self._check(scope, headers)
            self._working += 1
            inside = True
            await self._app(scope, read_whole, sent)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - what nobody foresaw becomes an answer
            refusal = self._refusal(scope, error)
            if not inside:
                self._refused(scope, refusal.status)
            if not started:
                await self._answer(send, refusal)
        finally:
            self._working -= inside
            if body.size:
                self._bodies.release(body)

    def _refusal(self, scope: Scope, error: Exception) -> Refused:
        if isinstance(error, Refused):
            return error
        self.failures.tell(f"{shorten(scope['method'])} {shorten(scope['path'])}", error)
        return Refused(500, "internal error; the log of this server has the details")

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        host = headers.get("host", "")
        if not self._hosts.admits(host):
            raise Refused(421, f"host: this server does not answer to the name {shorten(host)}")
        if not _plain(scope):
            raise Refused(404, "path: no path here is written like this")
        if from_elsewhere(scope["method"], headers):
            raise Refused(403, "origin: a page of another site asked for this, so nothing was done")
        if self._working >= self.bounds.at_once and scope["path"] not in HEALTH:
            raise Refused(503, "too many requests are worked on; send it again later", _BUSY)

    async def _answer(self, send: Send, refusal: Refused) -> None:
        kind, body = self.refuse(refusal.status, str(refusal))
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"),
            *refusal.headers,
        ]
        start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name; what comes twice is one list (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _plain(scope: Scope) -> bool:
    """Whether a path can be read in one way only.

    No escaped separator (what it names depends on who unescapes first), no empty or dotted
    part, nothing that is no text.
    """
    path: str = scope["path"]
    if path == "/":
        return True
    raw = scope.get("raw_path", b"").lower()
    if b"%2f" in raw or b"%5c" in raw or b"%25" in raw:
        return False
    if not path.isprintable() or "\\" in path or "\ufffd" in path:
        return False
    parts = path.split("/")[1:]
    if parts[-1] == "":
        parts.pop()
    return bool(parts) and not any(part in ("", ".", "..") for part in parts)


def loop_failures(failures: Failures) -> Callable[[asyncio.AbstractEventLoop, Any], None]:
    """Return an event loop's handler of exceptions that logs within the same bounds."""

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(str(context.get("message", ""))[:200])
        failures.tell("the server", error)

    return tell
