"""The monitor's HTTP interface: a handler for the server in ``noria.http``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from monitoring.exposition import Exposition
from monitoring.payload import epoch_ms
from monitoring.service import Monitor
from noria.errors import InvalidInput, NoriaError, Unavailable
from noria.http import Request, Response
from noria.predictions import MEDIA_TYPE

READ_HEADERS: Final = frozenset(
    {
        b"ce-id",
        b"ce-type",
        b"ce-specversion",
        b"ce-inferenceservicename",
        b"ce-annotations",
    }
)
"""The headers that requests are read with, besides those of HTTP itself."""

_log = logging.getLogger(__name__)
_INLINE_BYTES: Final = 1_000_000
_OK, _BAD, _NOT_FOUND, _NOT_ALLOWED, _TOO_LARGE, _BROKEN, _BUSY = 200, 400, 404, 405, 413, 500, 503
_TAKEN: Final = Response(_OK, b"{}")
_POSTED: Final = Response(
    _OK,
    b"{}",
    headers=b"allow: OPTIONS, POST\r\naccept-post: %b\r\n"
    % ", ".join(
        (MEDIA_TYPE, "application/cloudevents-batch+json", "application/cloudevents+json")
    ).encode(),
)
"""What may be posted to ``/``: Linked Data Platform 1.0, section 7.1."""


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class App:
    """Routes requests to one model's monitor.

    Bad input is a 4xx that names the field, trouble with the disk a 503; both
    are ``{"error": text}``. Only 200 means that events are durable.
    """

    def __init__(self, monitor: Monitor) -> None:
        """Serve ``monitor``."""
        self._monitor = monitor
        self._exposition = Exposition(monitor)

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request."""
        if request.path == b"/" and request.method == b"POST":
            return self._events(request)
        if request.path == b"/" and request.method == b"OPTIONS":
            return _POSTED
        return self._answer(request)

    def refuse(self, status: int, message: str) -> Response:
        """Answer a request that is refused before it is read."""
        if status == _TOO_LARGE:
            self._monitor.drop("refused", 1)
        return _error(status, message)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._route(request)
        except Exception as error:  # noqa: BLE001 - becomes a status and a message
            return _failed(request, error)

    async def _route(self, request: Request) -> Response:
        method, path = request.method.decode("latin-1"), unquote(request.path.decode("latin-1"))
        # Split before it is unquoted: a name may hold an escaped slash.
        parts = [unquote(p) for p in request.path.decode("latin-1").strip("/").split("/")]
        match method, parts:
            case "POST", ["feedback"]:
                return await self._feedback(request.body)
            case "POST", ["partials"]:
                taken = await asyncio.to_thread(self._monitor.partials, request.body)
                await asyncio.wrap_future(taken)
                return _TAKEN
            case "POST", ["flush"]:
                return _json(await asyncio.to_thread(self._monitor.flush))
            case "GET", ["healthz"]:
                problem = self._monitor.problem
                return _json({"ok": not problem, "problem": problem}, _BUSY if problem else _OK)
            case "GET", ["metrics"]:
                body = await asyncio.to_thread(self._exposition.text)
                return Response(_OK, body, self._exposition.kind)
            case "PUT", ["models", model, "versions", version, "reference"]:
                self._known(model)
                if _kind(request) == "application/zip":
                    champion = _query(request).get("champion") == "true"
                    put = partial(self._monitor.put_reference_zip, champion=champion)
                else:
                    put = partial(self._monitor.put_reference)
                done = await asyncio.to_thread(put, version, request.body)
                await asyncio.wrap_future(done)
                return _json({"model": model, "version": version})
            case "GET", ["models", model, what]:
                self._known(model)
                return await self._asked(what, _query(request))
            case _, ["" | "feedback" | "flush" | "partials" | "healthz" | "metrics"]:
                raise _Refused(_NOT_ALLOWED, f"method: {method} is not allowed on {path}")
        raise _Refused(_NOT_FOUND, f"path: there is no {path[:200]!r} here")

    async def _asked(self, what: str, query: Mapping[str, str]) -> Response:
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

    async def _measure(self, query: Mapping[str, str]) -> Response:
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

    async def _events(self, request: Request) -> Response:
        monitor = self._monitor
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in request.headers.items()}
        done: Future[int] | None = None
        try:
            if len(request.body) > _INLINE_BYTES:
                # Long to parse: off the loop, so that others are still answered.
                done = await asyncio.to_thread(monitor.accept, headers, request.body)
            else:
                done = monitor.accept(headers, request.body)
            await asyncio.wrap_future(done)
        except Exception as error:  # noqa: BLE001 - becomes a status and a message
            if isinstance(error, InvalidInput):
                monitor.drop("refused", 1)
            elif done is not None:
                monitor.drop("not-written", 1)
            return _failed(request, error)
        return _TAKEN

    async def _feedback(self, body: bytes) -> Response:
        done, sent = await asyncio.to_thread(self._monitor.feedback, body)
        accepted = await asyncio.wrap_future(done)
        return _json({"accepted": accepted, "duplicates": sent - accepted})

    def _known(self, model: str) -> None:
        if model != self._monitor.config.model:
            raise _Refused(
                _NOT_FOUND,
                f"model: {model[:100]!r} is not watched here, {self._monitor.config.model!r} is",
            )


def _failed(request: Request, error: Exception) -> Response:
    match error:
        case _Refused():
            return _error(error.status, str(error))
        case InvalidInput():
            return _error(_BAD, str(error))
        case Unavailable() | NoriaError():
            return _error(_BUSY, str(error))
    # No stack trace leaves the process.
    _log.error("%r %r failed", request.method, request.path[:200], exc_info=error)
    return _error(_BROKEN, "internal error; the monitor's log has the details")


def _json(content: Any, status: int = _OK) -> Response:
    return Response(status, msgspec.json.encode(content))


def _error(status: int, message: str) -> Response:
    return _json({"error": message}, status)


def _kind(request: Request) -> str:
    """Return the media type of the body, without its parameters."""
    found = request.headers.get(b"content-type", b"").decode("latin-1")
    return found.partition(";")[0].strip().lower()


def _query(request: Request) -> dict[str, str]:
    found = parse_qs(request.query.decode("latin-1"))
    return {name: values[-1] for name, values in found.items()}


def _whole(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidInput(f"{where}: {text[:100]!r} is not a whole number")
    return int(text)
