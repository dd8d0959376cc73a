"""The life of one server process: listen, load, be ready, drain, exit.

The sockets listen before the package is loaded, so that liveness answers at once
and readiness says 503. On SIGTERM readiness goes first; the listener stays open for
``drain_delay``, so that whoever routes to this server can see it; then requests in
flight are finished and payload events sent, and the process exits 0.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import orjson
import uvloop

from noria.errors import shorten
from noria.http import HttpLimits, HttpServer, Response
from noria.tasks.package import Manifest
from serving.metrics import ServerMetrics
from serving.payloads import PayloadLog, PayloadSettings
from serving.predicted import Source, columns_of
from serving.refusal import Refusal
from serving.routes import Router
from serving.runner import Batching
from serving.service import READ_HEADERS, InferenceService, Loaded, load, refusal_response
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.oip.grpc import GrpcServer

_log: Final = logging.getLogger("serving")
_PAYLOAD_FLUSH_SECONDS: Final = 5.0
_MAX_CONNECTIONS: Final = 10_000
_OWN_FILES: Final = 128
_MAX_HELD_BYTES: Final = 256 << 20
_MIN_BODIES: Final = 8


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        IntegrityError, NotInstalled: The package can't be loaded.
        InvalidInput: The sink is not a URL.
        OSError: A port is taken.
    """
    uvloop.run(_Process(settings).run())


class _Process:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = ServerMetrics(settings.name, settings.version)
        self._payloads = _payload_log(settings)
        if self._payloads is not None:
            self._metrics.payload_lost = self._payloads.lost
            self._metrics.payload_sent = self._payloads.sent
            self._metrics.payload_held = self._payloads.held
        self._service = InferenceService(
            settings.name, settings.version, self._metrics, self._payloads
        )
        self._metrics.workers = self._service.workers
        router = Router(self._service)
        self._http = HttpServer(router, _refuse, router.failed, _limits(settings), READ_HEADERS)
        self._metrics.door = self._http
        self._stop = asyncio.Event()

    async def run(self) -> None:
        settings = self._settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        listener = await self._http.listen(settings.host, settings.port)
        sweeper = loop.create_task(self._http.sweep())
        port = listener.sockets[0].getsockname()[1]
        _log.info("listening on %s:%d, loading %s", settings.host, port, settings.package)
        grpc: GrpcServer | None = None
        try:
            if settings.grpc_port >= 0:
                from serving.oip.door import GrpcLimits
                from serving.oip.grpc import GrpcServer

                limits = GrpcLimits(settings.max_request_bytes)
                grpc = await GrpcServer.start(
                    self._service, settings.host, settings.grpc_port, limits
                )
            stopped = loop.create_task(self._stop.wait())
            loaded = await self._load(stopped)
            if loaded is not None:
                self._check_redaction(loaded.manifest)
                self._service.become_ready(loaded)
                self._write_ready_file(port, grpc.port if grpc is not None else None)
                _log.info("ready: %s version %s", settings.name, settings.version)
                await stopped
        finally:
            await self._drain(listener, grpc)
            sweeper.cancel()
            if self._payloads is not None:
                await asyncio.to_thread(self._payloads.close, _PAYLOAD_FLUSH_SECONDS)

    async def _load(self, stopped: asyncio.Task[bool]) -> Loaded | None:
        """Load in a thread; None when the process is told to stop meanwhile."""
        settings = self._settings
        loading = asyncio.get_running_loop().run_in_executor(
            ThreadPoolExecutor(1),
            lambda: load(
                settings.package,
                digest=settings.digest,
                feature_base=settings.feature_base,
                name=settings.name,
                version=settings.version,
                batching=Batching(settings.batch_rows, settings.batch_delay, settings.max_queue),
                metrics=self._metrics,
            ),
        )
        await asyncio.wait((loading, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            loading.cancel()
            return None
        # What was imported stays: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        return loading.result()

    def _check_redaction(self, manifest: Manifest) -> None:
        """Send nothing at all when what must not leave is not among what the version knows."""
        unknown = sorted(self._settings.redact - columns_of(manifest))
        if unknown and self._payloads is not None:
            self._payloads.withhold(
                f"--redact: {', '.join(map(shorten, unknown[:10]))} is no input or output of "
                f"version {self._settings.version}; correct or remove the name"
            )

    def _write_ready_file(self, rest: int, grpc: int | None) -> None:
        path = self._settings.ready_file
        if path is None:
            return
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(orjson.dumps({"pid": os.getpid(), "rest": rest, "grpc": grpc}))
        draft.replace(path)

    async def _drain(self, listener: asyncio.Server, grpc: GrpcServer | None) -> None:
        was_ready = self._metrics.ready
        self._service.start_draining()
        if was_ready:
            await asyncio.sleep(self._settings.drain_delay)
        listener.close()
        clean = await self._http.drain(self._settings.drain_timeout)
        if grpc is not None:
            await grpc.stop(self._settings.drain_timeout)
        if not clean:
            _log.error("requests were still in flight after %s s", self._settings.drain_timeout)


def _limits(settings: Settings) -> HttpLimits:
    """Return what connections may do; no more of them than there are file descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return HttpLimits(
        settings.max_request_bytes,
        max_connections=max(16, min(_MAX_CONNECTIONS, hard - _OWN_FILES)),
        max_held=max(_MAX_HELD_BYTES, _MIN_BODIES * settings.max_request_bytes),
    )


def _payload_log(settings: Settings) -> PayloadLog | None:
    if not settings.sink or settings.sample == 0:
        return None
    return PayloadLog(
        PayloadSettings(
            sink=settings.sink,
            source=Source(settings.name, settings.version, settings.namespace, settings.redact),
            sample=settings.sample,
        )
    )


def _refuse(status: int, message: str) -> Response:
    return refusal_response(Refusal(status, message))
