"""The doors of small traffic: a monitor, the webhook, the page, and the endpoints of metrics.

One composition for all of them. uvicorn speaks HTTP; ``connection`` puts bounds and
time-outs to each connection and ``crowd`` to all of them together; ``gate`` decides
for each request who is let in, reads its body within bounds, and answers what nobody
foresaw. Behind the gate is an ASGI application: ``api`` for JSON, or any other.
"""

from __future__ import annotations

from noria.asgi.api import Answer, Api, Request
from noria.asgi.bounds import Bounds
from noria.asgi.gate import Gate
from noria.asgi.hosts import Hosts, is_loopback
from noria.asgi.probe import Probe
from noria.asgi.refusal import Refused
from noria.asgi.server import Listen, background, serve

__all__ = [
    "Answer",
    "Api",
    "Bounds",
    "Gate",
    "Hosts",
    "Listen",
    "Probe",
    "Refused",
    "Request",
    "background",
    "is_loopback",
    "serve",
]
