"""The monitor's HTTP interface."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Final

import msgspec

from monitoring.exposition import Exposition
from monitoring.limits import epoch_ms
from monitoring.log import WRITE_PATIENCE
from monitoring.service import Monitor
from noria.asgi import Answer, Api, Bounds, Gate, Hosts, Refused, Request
from noria.asgi.api import JSON, answer_json, not_allowed
from noria.asgi.body import Gone
from noria.asgi.gate import Scope
from noria.errors import InvalidInput, Unavailable, shorten
from noria.predictions import MEDIA_TYPE

BOUNDS: Final = Bounds(
    max_body=16 << 20,
    max_held=128 << 20,
    max_connections=4096,
    at_once=1024,
    idle_seconds=150.0,
)
"""Senders keep their connections, and what they send is on the disk before the answer."""

_JSON: Final = "application/json"
_CLOUD_EVENTS: Final = ("application/cloudevents-batch+json", "application/cloudevents+json")
_MESSAGES: Final = "application/msgpack"
_ZIP: Final = "application/zip"
_PARQUET: Final = b"application/vnd.apache.parquet"
_STREAM: Final = "text/event-stream"
_BINARY: Final = "application/octet-stream"
"""What a client says of a body with binary tensors; KServe's logger says it of both events."""
_EVENTS: Final = frozenset({MEDIA_TYPE, *_CLOUD_EVENTS, _JSON, _STREAM, _BINARY})
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "/": ("OPTIONS", "POST"),
    "/feedback": ("POST",),
    "/partials": ("POST",),
    "/flush": ("POST",),
    "/healthz": ("GET",),
    "/livez": ("GET",),
    "/metrics": ("GET",),
}
_INLINE_BYTES: Final = 1_000_000
_MOST_WINDOWS: Final = 10_000
_FLUSHES: Final = 2
_OK, _NOT_FOUND, _BUSY = 200, 404, 503
_TAKEN: Final = Answer(_OK, b"{}")
_POSTED: Final = Answer(
    _OK,
    b"{}",
    JSON,
    (
        (b"allow", b"OPTIONS, POST"),
        (b"accept-post", ", ".join((MEDIA_TYPE, *_CLOUD_EVENTS)).encode()),
    ),
)
"""What may be posted to ``/``: Linked Data Platform 1.0, section 7.1."""


class App:
    """Routes requests to one model's monitor.

    Bad input is a 4xx that names the field, trouble with the disk a 503; both
    are ``{"error": text}``. Only 200 means that events are durable.
    """

    def __init__(self, monitor: Monitor) -> None:
        """Serve ``monitor``."""
        self._monitor = monitor
        self._exposition = Exposition(monitor)
        self._flushes = 0

    def gate(self, hosts: Hosts, bounds: Bounds = BOUNDS) -> Gate:
        """Return the ASGI application."""
        return Gate(Api(self._route), bounds, hosts, refused=self._refused)

    def _refused(self, scope: Scope, status: int) -> None:
        """Count events that never came as far as here."""
        del status
        if scope["path"] == "/" and scope["method"] == "POST":
            self._monitor.drop("refused", 1)

    async def _route(self, request: Request) -> Answer:
        method, path = request.method, request.path
        match method, path.split("/")[1:]:
            case "POST", [""]:
                return await self._events(request)
            case "OPTIONS", [""]:
                return _POSTED
            case "POST", ["feedback"]:
                request.expect(_JSON)
                return await self._feedback(await request.body())
            case "POST", ["partials"]:
                request.expect(_MESSAGES)
                taken = await asyncio.to_thread(self._monitor.partials, await request.body())
                await _durable(taken)
                return _TAKEN
            case "POST", ["flush"]:
                return await self._flush()
            case "GET", ["healthz"]:
                health = self._monitor.health()
                return answer_json(health, _OK if health.ok else _BUSY)
            case "GET", ["livez"]:
                # Whether a new start would help; what is wrong besides is told by healthz.
                problem = self._monitor.hopeless
                return answer_json(
                    {"ok": not problem, "problem": problem}, _BUSY if problem else _OK
                )
            case "GET", ["metrics"]:
                body = await asyncio.to_thread(self._exposition.text)
                return Answer(_OK, body, self._exposition.kind)
            case "PUT", ["models", model, "versions", version, "reference"]:
                self._known(model)
                return await self._put_reference(request, version)
            case "GET", ["models", model, "served", day, part]:
                self._known(model)
                return await self._served_part(f"{day}/{part}")
            case "GET", ["models", model, what]:
                self._known(model)
                return await self._asked(what, request.query)
            case _, ["models", _, "versions", _, "reference"]:
                raise not_allowed(request, ("PUT",))
            case _, ["models", _, _] | ["models", _, "served", _, _]:
                raise not_allowed(request, ("GET",))
        if path in _METHODS:
            raise not_allowed(request, _METHODS[path])
        raise Refused(_NOT_FOUND, f"path: there is no {shorten(path)} here")

    async def _put_reference(self, request: Request, version: str) -> Answer:
        request.expect(_JSON, _ZIP)
        if request.media_type == _ZIP:
            champion = request.query.get("champion") == "true"
            put = partial(self._monitor.put_reference_zip, champion=champion)
        else:
            put = partial(self._monitor.put_reference)
        done = await asyncio.to_thread(put, version, await request.body())
        await _durable(done)
        return answer_json({"model": self._monitor.config.model, "version": version})

    async def _flush(self) -> Answer:
        """Wait until all is processed; that may take minutes, so a few may wait at once."""
        if self._flushes >= _FLUSHES:
            raise Unavailable(f"{_FLUSHES} flushes wait already", fix="ask again later")
        self._flushes += 1
        try:
            return answer_json(await asyncio.to_thread(self._monitor.flush))
        finally:
            self._flushes -= 1

    async def _asked(self, what: str, query: Mapping[str, str]) -> Answer:
        monitor = self._monitor
        match what:
            case "status":
                return answer_json(await asyncio.to_thread(monitor.status))
            case "signals":
                return answer_json({"signals": await asyncio.to_thread(monitor.signals)})
            case "windows":
                limit = _whole(query.get("limit", "100"), "limit", _MOST_WINDOWS)
                stream = query.get("stream", "features")
                found = await asyncio.to_thread(monitor.windows, stream, limit)
                return answer_json({"windows": found})
            case "measure":
                return await self._measure(query)
            case "served":
                await self._flush()
                return answer_json(await asyncio.to_thread(monitor.served))
        raise Refused(_NOT_FOUND, f"path: there is no {shorten(what)} of a model")

    async def _served_part(self, name: str) -> Answer:
        found = await asyncio.to_thread(self._monitor.served_part, name)
        if found is None:
            raise Refused(_NOT_FOUND, f"path: there is no part {shorten(name)} of the table")
        return Answer(_OK, found, _PARQUET)

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
        return answer_json({"version": version} | msgspec.structs.asdict(found))

    async def _events(self, request: Request) -> Answer:
        monitor = self._monitor
        done: Future[int] | None = None
        try:
            if request.media_type:  # the header may be left out of an event in binary mode
                request.expect(*_EVENTS)
            body = await request.body()
            if len(body) > _INLINE_BYTES:
                # Long to parse: off the loop, so that others are still answered.
                done = await asyncio.to_thread(monitor.accept, request.headers, body)
            else:
                done = monitor.accept(request.headers, body)
            await _durable(done)
        except (Gone, Unavailable):
            # Of a hang-up the sender knows; what there is no room for is counted where that is.
            if done is not None:
                monitor.drop("not-written", 1)
            raise
        except Exception:
            monitor.drop("not-written" if done is not None else "refused", 1)
            raise
        return _TAKEN

    async def _feedback(self, body: bytes) -> Answer:
        done, sent = await asyncio.to_thread(self._monitor.feedback, body)
        accepted = await _durable(done)
        return answer_json({"accepted": accepted, "duplicates": sent - accepted})

    def _known(self, model: str) -> None:
        if model != self._monitor.config.model:
            raise Refused(
                _NOT_FOUND,
                f"model: {shorten(model)} is not watched here, {self._monitor.config.model!r} is",
            )


async def _durable(done: Future[int]) -> int:
    """Wait for the log, but not for ever: nobody hangs on a disk that does not answer."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(done), WRITE_PATIENCE)
    except TimeoutError as error:
        raise Unavailable("the monitor's disk does not answer", fix="send again") from error


def _whole(text: str, where: str, most: int) -> int:
    if not (
        text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most
    ):
        raise InvalidInput(f"{where}: {shorten(text)} is not a whole number up to {most}")
    return int(text)
