"""The receiver's HTTP interface: a bare ASGI application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from monitoring.webhook.auth import SIGNATURE, TIMESTAMP, Locks
from monitoring.webhook.counters import KIND, Counters
from monitoring.webhook.payload import read_delivery
from monitoring.webhook.receiver import Receiver
from noria.errors import InvalidInput, NoriaError, shorten
from noria.loop.ports import Clock

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES: Final = 4 << 20
"""About four thousand alerts. Alertmanager sends a whole group in one body."""

_BODY_SECONDS: Final = 15.0
_JSON: Final = b"application/json"
_PATHS: Final = {
    "/alerts": ("POST", "PUT"),
    "/livez": ("GET",),
    "/healthz": ("GET",),
    "/metrics": ("GET",),
}
_log = logging.getLogger(__name__)


class _Answer(NamedTuple):
    status: int
    body: bytes
    kind: bytes = _JSON


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class WebhookApp:
    """Answers ``POST /alerts``, ``GET /livez``, ``GET /healthz`` and ``GET /metrics``.

    200 means that everything is durable. A 4xx is for what will be as wrong the next
    time; Alertmanager drops it then, so it is logged and counted. 503 is for trouble
    with the store, and Alertmanager sends again.
    """

    def __init__(
        self,
        receiver: Receiver,
        locks: Locks,
        clock: Clock,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._receiver = receiver
        self._locks = locks
        self._clock = clock
        self._max_body = max_body_bytes
        self._counters = Counters()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        delivery = scope["path"] == "/alerts"
        try:
            answer = await self._route(scope, receive)
        except _Refused as refused:
            answer = _error(refused.status, str(refused))
        except InvalidInput as error:
            answer = _error(400, str(error))
        except NoriaError as error:
            answer = _error(503, str(error))
        except Exception:  # noqa: BLE001 - no stack trace leaves the process
            _log.exception("%s %s failed", scope["method"], scope["path"])
            answer = _error(500, "internal error; the receiver's log has the details")
        if delivery:
            self._counters.answered(answer.status)
            if answer.status >= 400:
                _log.warning("a delivery is answered %d: %s", answer.status, shorten(answer.body))
        await _send(send, answer)

    async def _route(self, scope: Scope, receive: Receive) -> _Answer:
        method, path = scope["method"], scope["path"]
        if path not in _PATHS:
            raise _Refused(404, f"path: there is no {shorten(path)} here; alerts go to /alerts")
        if method not in _PATHS[path]:
            raise _Refused(405, f"method: {shorten(method)} is not allowed on {path}")
        if path == "/metrics":
            return _Answer(200, self._counters.text(), KIND)
        if path == "/livez":  # a restart mends no store
            return _Answer(200, b'{"ok": true}')
        if path == "/healthz":
            await asyncio.to_thread(self._receiver.healthy)
            return _Answer(200, b'{"ok": true}')
        return await self._alerts(scope, receive)

    async def _alerts(self, scope: Scope, receive: Receive) -> _Answer:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        admitted = not self._locks.closed or self._locks.admits_token(
            headers.get("authorization", "")
        )
        # What can't be let in any more needs no reading.
        if not admitted and SIGNATURE not in headers:
            raise _Refused(401, "authorization: the bearer token is missing or wrong")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise _Refused(415, f"content-type: {shorten(kind)}, and application/json is expected")
        body = await self._body(headers.get("content-length", ""), receive)
        now = self._clock.now().timestamp()
        if not admitted and not self._locks.admits_signature(headers, body, now):
            raise _Refused(401, f"{SIGNATURE}, {TIMESTAMP}: the signature is wrong or too old")
        delivery = read_delivery(body)
        taken = await asyncio.to_thread(self._receiver.take, delivery)
        self._counters.took(delivery, taken, now)
        return _Answer(200, msgspec.json.encode(taken))

    async def _body(self, length: str, receive: Receive) -> bytes:
        if length.isdigit() and (len(length) > 18 or int(length) > self._max_body):
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Refused(400, "body: the sender hung up")
                    body += message.get("body", b"")
                    if len(body) > self._max_body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise _Refused(408, f"body: not whole after {_BODY_SECONDS:g} s") from None

    def _too_large(self) -> _Refused:
        return _Refused(413, f"body: over {self._max_body} bytes; let the sender group by `model`")


def _error(status: int, text: str) -> _Answer:
    return _Answer(status, json.dumps({"error": text}).encode())


async def _send(send: Send, answer: _Answer) -> None:
    headers = [
        (b"content-type", answer.kind),
        (b"content-length", str(len(answer.body)).encode()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
