"""The receiver's HTTP interface."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from monitoring.webhook.auth import SIGNATURE, TIMESTAMP, Locks
from monitoring.webhook.counters import KIND, Counters
from monitoring.webhook.payload import read_delivery
from monitoring.webhook.receiver import Receiver
from noria.asgi import Answer, Api, Bounds, Gate, Hosts, Probe, Refused, Request
from noria.asgi.api import answer_json, not_allowed
from noria.asgi.gate import Scope
from noria.errors import shorten
from noria.loop.ports import Clock

BOUNDS: Final = Bounds(max_body=4 << 20, body_seconds=15.0, at_once=256, max_connections=1024)
"""A body is about four thousand alerts: Alertmanager sends a whole group in one. Many senders
come at once, and what they send is synced to the disk."""

_ALERTS: Final = "/alerts"
_METHODS: Final = {
    _ALERTS: ("POST", "PUT"),
    "/livez": ("GET",),
    "/healthz": ("GET",),
    "/metrics": ("GET",),
}
_WORST: Final = 400
_log = logging.getLogger(__name__)


class WebhookApp:
    """Answers ``POST /alerts``, ``GET /livez``, ``GET /healthz`` and ``GET /metrics``.

    200 means that everything is durable. A 4xx is for what will be as wrong the next
    time; Alertmanager drops it then, so it is logged and counted. 503 is for trouble
    with the store, and Alertmanager sends again.
    """

    def __init__(self, receiver: Receiver, locks: Locks, clock: Clock) -> None:
        self._receiver = receiver
        self._locks = locks
        self._clock = clock
        self._counters = Counters()
        self._store = Probe(receiver.healthy, "the store")

    def gate(self, hosts: Hosts, bounds: Bounds = BOUNDS) -> Gate:
        """Return the ASGI application."""
        return Gate(Api(self._route, self._answered), bounds, hosts, refused=self._refused)

    async def _route(self, request: Request) -> Answer:
        methods = _METHODS.get(request.path)
        if methods is None:
            raise Refused(
                404, f"path: there is no {shorten(request.path)} here; alerts go to {_ALERTS}"
            )
        if request.method not in methods:
            raise not_allowed(request, methods)
        if request.path == "/metrics":
            return Answer(200, self._counters.text(), KIND)
        if request.path == "/livez":  # a restart mends no store
            return answer_json({"ok": True})
        if request.path == "/healthz":
            problem = await self._store.problem()
            return answer_json({"error": problem}, 503) if problem else answer_json({"ok": True})
        return await self._alerts(request)

    async def _alerts(self, request: Request) -> Answer:
        headers = request.headers
        admitted = not self._locks.closed or self._locks.admits_token(
            headers.get("authorization", "")
        )
        # What can't be let in any more needs no reading.
        if not admitted and SIGNATURE not in headers:
            raise Refused(401, "authorization: the bearer token is missing or wrong")
        request.expect("application/json")
        body = await request.body()
        now = self._clock.now().timestamp()
        if not admitted and not self._locks.admits_signature(headers, body, now):
            raise Refused(401, f"{SIGNATURE}, {TIMESTAMP}: the signature is wrong or too old")
        delivery = read_delivery(body)
        taken = await asyncio.to_thread(self._receiver.take, delivery)
        self._counters.took(delivery, taken, now)
        return answer_json(taken)

    def _answered(self, request: Request, answer: Answer) -> None:
        if request.path != _ALERTS:
            return
        self._counters.answered(answer.status)
        if answer.status >= _WORST:
            _log.warning("a delivery is answered %d: %s", answer.status, shorten(answer.body))

    def _refused(self, scope: Scope, status: int) -> None:
        if scope["path"] == _ALERTS:
            self._counters.answered(status)
