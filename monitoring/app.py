"""The monitor's HTTP interface: a bare ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qs, unquote

import msgspec

from monitoring.exposition import Exposition
from monitoring.payload import epoch_ms
from monitoring.service import Monitor
from noria.errors import InvalidInput, NoriaError, Unavailable

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_log = logging.getLogger(__name__)
_JSON: Final = b"application/json"
_INLINE_BYTES: Final = 1_000_000
_OK, _BAD, _NOT_FOUND, _NOT_ALLOWED, _TOO_LARGE, _BROKEN, _BUSY = 200, 400, 404, 405, 413, 500, 503


class Answer(NamedTuple):
    """What goes back."""

    status: int
    body: bytes
    kind: bytes = _JSON


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class App:
    """Routes requests to one model's monitor.

    Bad input is a 4xx that names the field, trouble with the disk a 503; both
    are ``{"error": text}``. Only 200 means that events are durable.
    """

    def __init__(self, monitor: Monitor, *, max_body_bytes: int = 16 * 1024 * 1024) -> None:
        """Serve ``monitor``; bodies above ``max_body_bytes`` are refused with 413."""
        self._monitor = monitor
        self._max_body = max_body_bytes
        self._exposition = Exposition(monitor)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._route(scope, receive)
        except _Refused as refused:
            answer = _error(refused.status, str(refused))
        except InvalidInput as error:
            answer = _error(_BAD, str(error))
        except Unavailable as error:
            answer = _error(_BUSY, str(error))
        except NoriaError as error:
            answer = _error(_BUSY, str(error))
        except Exception:  # noqa: BLE001 - no stack trace leaves the process
            _log.exception("%s %s failed", scope["method"], scope["path"])
            answer = _error(_BROKEN, "internal error; the monitor's log has the details")
        headers = [
            (b"content-type", answer.kind),
            (b"content-length", str(len(answer.body)).encode()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _route(self, scope: Scope, receive: Receive) -> Answer:
        method, path = scope["method"], scope["path"]
        if method == "POST" and path == "/":
            return await self._events(scope, receive)
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match method, parts:
            case "POST", ["feedback"]:
                return await self._feedback(scope, receive)
            case "POST", ["flush"]:
                return _json(await asyncio.to_thread(self._monitor.flush))
            case "GET", ["healthz"]:
                problem = self._monitor.problem
                return _json({"ok": not problem, "problem": problem}, _BUSY if problem else _OK)
            case "GET", ["metrics"]:
                body = await asyncio.to_thread(self._exposition.text)
                return Answer(_OK, body, self._exposition.kind)
            case "PUT", ["models", model, "versions", version, "reference"]:
                self._known(model)
                body = await self._body(scope, receive)
                if _kind(scope) == "application/zip":
                    champion = _query(scope).get("champion") == "true"
                    put = partial(self._monitor.put_reference_zip, champion=champion)
                else:
                    put = partial(self._monitor.put_reference)
                done = await asyncio.to_thread(put, version, body)
                await asyncio.wrap_future(done)
                return _json({"model": model, "version": version})
            case "GET", ["models", model, what]:
                self._known(model)
                return await self._asked(what, _query(scope))
            case _, ["" | "feedback" | "flush" | "healthz" | "metrics"]:
                raise _Refused(_NOT_ALLOWED, f"method: {method} is not allowed on {path}")
        raise _Refused(_NOT_FOUND, f"path: there is no {path[:200]!r} here")

    async def _asked(self, what: str, query: Mapping[str, str]) -> Answer:
        monitor = self._monitor
        match what:
            case "status":
                return _json(await asyncio.to_thread(monitor.status))
            case "signals":
                return _json({"signals": await asyncio.to_thread(monitor.signals)})
            case "windows":
                limit = _whole(query.get("limit", "100"), "limit")
                stream = query.get("stream", "features")
                found = await asyncio.to_thread(monitor.windows, stream, limit)
                return _json({"windows": found})
            case "measure":
                return await self._measure(query)
        raise _Refused(_NOT_FOUND, f"path: there is no {what[:200]!r} of a model")

    async def _measure(self, query: Mapping[str, str]) -> Answer:
        metric = query.get("metric")
        if not metric:
            raise InvalidInput("metric: missing", fix="such as ?metric=auc")
        since = query.get("since")
        # A "+" of a UTC offset that was not escaped arrives as a space.
        start = 0.0 if not since else epoch_ms(since.replace(" ", "+"), "since") / 1000.0
        version, found = await asyncio.to_thread(
            self._monitor.measure, metric, query.get("version"), start
        )
        return _json(
            {
                "metric": metric,
                "version": version,
                "value": found.value,
                "samples": found.samples,
                "low": found.low,
                "high": found.high,
                "problem": found.problem,
            }
        )

    async def _events(self, scope: Scope, receive: Receive) -> Answer:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            body = await self._body(scope, receive)
            if len(body) > _INLINE_BYTES:
                # Long to parse: off the loop, so that others are still answered.
                done = await asyncio.to_thread(self._monitor.accept, headers, body)
            else:
                done = self._monitor.accept(headers, body)
        except (InvalidInput, _Refused):
            self._monitor.drop("refused", 1)
            raise
        try:
            await asyncio.wrap_future(done)
        except NoriaError:
            self._monitor.drop("not-written", 1)
            raise
        return Answer(_OK, b"{}")

    async def _feedback(self, scope: Scope, receive: Receive) -> Answer:
        body = await self._body(scope, receive)
        done, sent = await asyncio.to_thread(self._monitor.feedback, body)
        accepted = await asyncio.wrap_future(done)
        return _json({"accepted": accepted, "duplicates": sent - accepted})

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._max_body:
                raise _Refused(_TOO_LARGE, f"body: over {self._max_body} bytes")
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Refused(_BAD, "body: the client went away")
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_body:
                raise _Refused(_TOO_LARGE, f"body: over {self._max_body} bytes")
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _known(self, model: str) -> None:
        if model != self._monitor.config.model:
            raise _Refused(
                _NOT_FOUND,
                f"model: {model[:100]!r} is not watched here, {self._monitor.config.model!r} is",
            )


def _json(content: Any, status: int = _OK) -> Answer:
    return Answer(status, msgspec.json.encode(content))


def _error(status: int, message: str) -> Answer:
    return _json({"error": message}, status)


def _kind(scope: Scope) -> str:
    """Return the media type of the body, without its parameters."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            return str(value.decode("latin-1").partition(";")[0].strip().lower())
    return ""


def _query(scope: Scope) -> dict[str, str]:
    found = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return {name: values[-1] for name, values in found.items()}


def _whole(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidInput(f"{where}: {text[:100]!r} is not a whole number")
    return int(text)
