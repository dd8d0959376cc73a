"""``noria operator``: waits to lead, keeps every Model of its namespaces, lets go at the end."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import kopf

from noria.clocks import WallClock
from noria.errors import ClusterError, Unavailable
from noria.kube import KubeClient
from noria.kube.events import Events
from noria.kube.kinds import MODEL
from noria.kube.lease import Leader, Tenure
from noria.kube.transport import Answer, Transport, connect
from noria.operator import handlers
from noria.operator.composition import Composition
from noria.operator.counters import Counters
from noria.operator.http import Health, serving
from noria.operator.keeper import Tools
from noria.operator.keepers import Keepers
from noria.operator.objects.common import MANAGER
from noria.operator.owned import OwnedObjects
from noria.operator.ports import Wiring
from noria.operator.settings import Settings
from noria.telemetry import render_all

LEASE_NAME: Final = "noria-operator"
_FORBIDDEN: Final = 403
_SLOWEST_CYCLES: Final = 10
_SLOWEST_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 0.5
_log = logging.getLogger(__name__)


class CountedTransport(Transport):
    """Requests whose refusals for want of a right are counted: there should be none."""

    def __init__(self, inner: Transport, denied: Callable[[], None]) -> None:
        # The connections are the other's; nothing of our own is to be set up.
        self.host = inner.host
        self._inner = inner
        self._denied = denied

    def send(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request by the other transport."""
        answer = self._inner.send(method, path, **options)
        if answer.status == _FORBIDDEN:
            _log.error("denied: %s %s", method, path)
            self._denied()
        return answer


class _DeniedToKopf(logging.Handler):
    """Counts what kopf's own client is denied: it only logs that."""

    def __init__(self, denied: Callable[[], None]) -> None:
        super().__init__()
        self._denied = denied

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record that is about a 403."""
        error = record.exc_info[1] if record.exc_info else None
        named = (error, *(record.args if isinstance(record.args, tuple) else ()))
        if any(getattr(one, "status", None) == _FORBIDDEN for one in named):
            self._denied()


class Operator:
    """The operator as a process.

    Args:
        settings: What it is told.
        wire: Makes the wiring of the Models' loops; by default that of the cluster.
    """

    def __init__(
        self,
        settings: Settings,
        wire: Callable[[KubeClient, Settings, WallClock], Wiring] = Composition,
    ) -> None:
        self._settings = settings
        self._counters = Counters()
        self._client = KubeClient(CountedTransport(connect(None, None), self._counters.denied))
        self._clock = WallClock()
        self._tenure: Tenure | None = None
        tools = Tools(
            client=self._client,
            settings=settings,
            clock=self._clock,
            wiring=wire(self._client, settings, self._clock),
            owned=OwnedObjects(self._client),
            events=Events(self._client, MANAGER, instance=settings.pod_name),
            lost=self._lost,
        )
        self._watching = threading.Event()
        self._keepers = Keepers(tools, self._counters)

    def run(self) -> int:
        """Run until SIGTERM or SIGINT (0), or until the lead is lost (1).

        Raises:
            NoriaError: It can't start at all.
        """
        stop = threading.Event()
        health = Health(self._dead, self._unready, self._metrics)
        leader = Leader(
            self._client, self._settings.pod_namespace, LEASE_NAME, self._settings.pod_name
        )
        port = self._settings.metrics_port
        with _until_signalled(stop), serving(health, port), leader.hold(stop) as tenure:
            self._tenure = tenure
            if stop.is_set():
                return 0
            self._counters.leads(1)
            self._wait_for_models(stop)
            with _heard(self._counters.denied), warnings.catch_warnings():
                # kopf's own, about daemons that outlive their time; it logs that as well.
                warnings.simplefilter("ignore", ResourceWarning)
                asyncio.run(self._watch(tenure, stop))
            lost = tenure.lost
            self._keepers.close()
            self._counters.leads(0)
        return 1 if lost else 0

    async def _watch(self, tenure: Tenure, stop: threading.Event) -> None:
        """Run kopf until it is signalled, which it sees to itself, or the lead is lost."""
        end = asyncio.Event()
        if stop.is_set():
            return
        looking = asyncio.create_task(_end_when_lost(tenure, end))
        await kopf.operator(
            registry=handlers.registry(self._keepers, self._settings.cycle),
            settings=handlers.settings(),
            namespaces=self._settings.namespaces,
            standalone=True,
            stop_flag=end,
            ready_flag=self._watching,
        )
        looking.cancel()

    def _wait_for_models(self, stop: threading.Event) -> None:
        """Wait until the cluster knows Models: kopf looks only once."""
        while not stop.is_set() and not self._lost():
            try:
                if self._client.has_kind(MODEL):
                    return
                _log.warning("the cluster has no %s: install Noria's CRD", MODEL.resource)
            except (ClusterError, Unavailable) as error:
                _log.warning("%s", error)
            stop.wait(_POLL_SECONDS * 4)

    def _lost(self) -> bool:
        return self._tenure is None or self._tenure.lost

    def _dead(self) -> str:
        limit = max(_SLOWEST_CYCLES * self._settings.cycle.total_seconds(), _SLOWEST_SECONDS)
        slowest = self._keepers.slowest()
        if self._tenure is None or slowest < limit:
            return ""
        return f"a loop has not turned for {slowest:.0f} s, {limit:.0f} are allowed"

    def _unready(self) -> str:
        # One that waits for the lead is ready to take over.
        if self._tenure is not None and not self._watching.is_set():
            return "Models are not watched yet"
        return ""

    def _metrics(self) -> bytes:
        return self._counters.text() + render_all(self._keepers.turned())


async def _end_when_lost(tenure: Tenure, end: asyncio.Event) -> None:
    while not tenure.lost:
        await asyncio.sleep(_POLL_SECONDS)
    _log.error("another operator may lead now: this one ends")
    end.set()


@contextmanager
def _until_signalled(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` at SIGTERM and SIGINT. kopf has handlers of its own while it runs."""

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's own shape
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _heard(denied: Callable[[], None]) -> Iterator[None]:
    handler = _DeniedToKopf(denied)
    logger = logging.getLogger("kopf")
    logger.addHandler(handler)
    objects = logging.getLogger("kopf.objects")
    objects.addFilter(handlers.not_yet)
    try:
        yield
    finally:
        objects.removeFilter(handlers.not_yet)
        logger.removeHandler(handler)
