"""``grpc.health.v1``: whether a request that came now would be answered.

The names are "" (the server), the inference service's and the model's; all say the same,
for one process serves one version. Nothing is remembered that could be out of date: an
answer is what the service says at that moment. Source: gRPC Health Checking Protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from noria.errors import shorten
from serving.oip.door import Door
from serving.refusal import Refusal
from serving.service import InferenceService

SERVICE: Final = "grpc.health.v1.Health"

_LOOK_SECONDS: Final = 0.2


class Health:
    """Answers health checks, and tells those who watch.

    Args:
        service: What is asked.
        names: The services on this port, besides the server itself and the model.
    """

    def __init__(self, service: InferenceService, names: Sequence[str]) -> None:
        self._service = service
        self._names = frozenset(("", service.name, SERVICE, *names))
        self._closing = asyncio.Event()

    def generic(self, door: Door) -> grpc.GenericRpcHandler:
        """Return the service's methods."""
        request = health_pb2.HealthCheckRequest
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": door.unary(request, self._check),
                "Watch": door.conversation(request, self._watch),
            },
        )

    def close(self) -> None:
        """End what watches; its clients have been told that nothing is served any more."""
        self._closing.set()

    async def _check(self, request: Any, _context: Any) -> Any:
        status = self._status(request.service)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            raise Refusal(404, f"service: {shorten(request.service)} is not served here")
        return health_pb2.HealthCheckResponse(status=status)

    async def _watch(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        request = await anext(requests, None)
        if request is None:
            raise Refusal(400, "request: there is no message")
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            if self._closing.is_set():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._closing.wait()

    def _status(self, name: str) -> Any:
        said = health_pb2.HealthCheckResponse
        if name not in self._names:
            return said.SERVICE_UNKNOWN
        return said.SERVING if self._service.ready else said.NOT_SERVING
