"""HTTP/1.1 on llhttp, straight to a handler: no ASGI scope, no task per request.

A request whose answer is ready is answered inside ``data_received``; one that has
to wait hands back an awaitable. The bench holds the reason (``serve.json.1.uvicorn``):
behind plain ASGI on uvicorn the same service takes a quarter more CPU at one row, and
about as much when most of the time goes into parsing.

What a client may cost is bounded while its bytes arrive, and while answers wait to
be read: see ``HttpLimits``. What HTTP itself demands is in ``noria.http.rules``.
"""

from __future__ import annotations

from noria.http.message import Refused, Request, Response
from noria.http.server import Handler, HttpLimits, HttpServer

__all__ = ["Handler", "HttpLimits", "HttpServer", "Refused", "Request", "Response"]
