"""Leader election on a ``Lease``: of many processes at most one acts.

The protocol is client-go's (``tools/leaderelection``): the holder renews the Lease
by compare-and-swap; a contender takes it once it has seen the Lease unchanged for
its duration *on its own monotonic clock*, so that clocks of machines need not agree.

The holder counts from the moment before it *sent* its last renewal and gives up after
``renew_deadline``. Contenders count from when they *saw* that renewal, which is later,
and wait for ``duration``, which is longer. So a holder that can't reach the API server,
or that was stopped and continued, knows that it has lost before another can have won.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from noria.errors import ClusterError, Conflict, InvalidInput, NoriaError, Unavailable
from noria.kube.client import KubeClient
from noria.kube.kinds import LEASE
from noria.kube.objects import MANAGED

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Times:
    """How an election is timed, in seconds. Every contender should have the same.

    ``duration`` is a whole number, as the Lease has it. The defaults are client-go's.
    """

    duration: int = 15
    renew_deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew_deadline < self.duration:
            raise InvalidInput(
                f"an election's times must rise: retry {self.retry}, "
                f"renew_deadline {self.renew_deadline}, duration {self.duration}",
                fix="for example 2, 10 and 15 seconds",
            )


class Tenure:
    """The time that one process is the leader. Once lost, it stays lost."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._ended = threading.Event()

    @property
    def lost(self) -> bool:
        """Whether to stop acting. Ask before each act: it looks at the clock, not at a thread."""
        with self._lock:
            if self._clock() >= self._until:
                self._ended.set()
            return self._ended.is_set()

    def wait_lost(self, seconds: float) -> bool:
        """Wait until it is lost, at most this long, and say whether it is."""
        until = self._clock() + seconds
        while not self.lost and self._clock() < until:
            with self._lock:
                left = min(until, self._until) - self._clock()
            self._ended.wait(max(0.0, left))
        return self.lost

    def extend(self, until: float) -> bool:
        """Let it last until this moment of the clock. False: it was lost already."""
        with self._lock:
            first = self._until == float("-inf")
            if self._ended.is_set() or (not first and self._clock() >= self._until):
                self._ended.set()
                return False
            self._until = until
            return True

    def end(self) -> None:
        """Give it up."""
        self._ended.set()


class Leader:
    """One contender for the Lease ``namespace/name``.

    Args:
        client: The API server. Each request waits at most for a third of the deadline.
        namespace: Where the Lease is.
        name: The Lease's name; made when it isn't there.
        identity: Who this process is, unlike any other: a pod's name.
        times: How the election is timed.
        clock: Monotonic seconds.
        now: The time that is written into the Lease, for people to read.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        times: Times | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not identity:
            raise InvalidInput("a leader needs an identity", fix="give the pod's name")
        self._times = times or Times()
        self._client = client.within(self._times.renew_deadline / 3)
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._seen: tuple[str, float] = ("", float("-inf"))

    @contextmanager
    def hold(self, stop: threading.Event | None = None) -> Iterator[Tenure]:
        """Wait to be the leader, be it for the block, and let go of the Lease at its end.

        The Lease is renewed by a thread meanwhile. The block must ask ``tenure.lost``
        before each act, and end when it is. ``stop`` ends the waiting: the tenure is
        lost from the start then.
        """
        tenure = self._won(stop or threading.Event())
        renewing = threading.Thread(
            target=self._keep, args=(tenure,), name=f"lease-{self._name}", daemon=True
        )
        renewing.start()
        try:
            yield tenure
        finally:
            tenure.end()
            renewing.join()
            self._release()

    def attempt(self, tenure: Tenure) -> bool:
        """Take or renew the Lease once, and extend ``tenure`` by that. False: not ours now.

        Raises:
            Unavailable, Denied, ClusterError: The API server did not do it, or that is unknown.
        """
        sent = self._clock()
        found = self._client.get(LEASE, self._name, self._namespace)
        try:
            if found is None:
                self._client.create(LEASE, self._body({}, {}), self._namespace)
            elif self._may_take(found):
                body = self._body(found["metadata"], found.get("spec") or {})
                self._client.replace(LEASE, body, self._namespace)
            else:
                return False
        except Conflict:
            return False  # Somebody else was first; the next look says who.
        return tenure.extend(sent + self._times.renew_deadline)

    def _won(self, stop: threading.Event) -> Tenure:
        tenure = Tenure(self._clock)
        while not stop.is_set():
            try:
                if self.attempt(tenure):
                    _log.info("%s leads by the lease %s", self._identity, self._name)
                    return tenure
            except (ClusterError, Unavailable) as error:
                _log.warning("can't get the lease: %s", error)
            stop.wait(self._times.retry)
        tenure.end()
        return tenure

    def _keep(self, tenure: Tenure) -> None:
        while not tenure.wait_lost(self._times.retry):
            try:
                self.attempt(tenure)
            except NoriaError as error:
                _log.warning("can't renew the lease: %s", error)
        _log.info("%s leads no longer by the lease %s", self._identity, self._name)

    def _may_take(self, found: Mapping[str, Any]) -> bool:
        """Whether the Lease is ours, free, or unchanged for its duration as seen from here."""
        spec = found.get("spec") or {}
        version = str(found["metadata"]["resourceVersion"])
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        holder = spec.get("holderIdentity") or ""
        if holder in {"", self._identity}:
            return True
        lasts = float(spec.get("leaseDurationSeconds") or self._times.duration)
        return self._clock() > self._seen[1] + lasts

    def _body(self, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return the Lease as ours. ``metadata`` has the resource version that was looked at."""
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = spec.get("holderIdentity") == self._identity
        changes = int(spec.get("leaseTransitions") or 0)
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": dict(metadata) or {"name": self._name, "labels": dict(MANAGED)},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._times.duration,
                "acquireTime": spec.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": changes if mine or not spec else changes + 1,
            },
        }

    def _release(self) -> None:
        """Let others take the Lease at once, if it is still ours."""
        # Who can't be told waits for the duration instead.
        with suppress(NoriaError):
            found = self._client.get(LEASE, self._name, self._namespace)
            if found is None or found["spec"].get("holderIdentity") != self._identity:
                return
            found["spec"] = {**found["spec"], "holderIdentity": ""}
            self._client.replace(LEASE, found, self._namespace)
