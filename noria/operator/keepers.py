"""All Models of this operator: one keeper each, and what they count together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from noria.errors import NoriaError
from noria.kube.kinds import MODEL
from noria.operator.counters import Counters
from noria.operator.keeper import Keeper, Tools
from noria.operator.resource import Resource
from noria.telemetry import Turned

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    """A keeper, whom it keeps, and since when it has not ended a turn (monotonic seconds).

    ``looked``: no other namespace had an older Model of the name when this one was new.
    """

    resource: Resource
    keeper: Keeper
    since: float
    looked: bool = False


class Keepers:
    """Safe to use from many threads; Models don't wait for each other.

    Args:
        tools: What the keepers share.
        counters: What the operator tells of itself.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        tools: Tools,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tools = tools
        self._counters = counters
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def turn(self, resource: Resource) -> None:
        """Turn the loop of a Model; what goes wrong is logged, counted and told by it."""
        if self._tools.lost():
            return
        kept, other = self._kept_of(resource)
        try:
            if not kept.looked:
                other = other or self._older_elsewhere(resource)
                kept.looked = other is None
            if other is None:
                kept.keeper.turn(resource)
            else:
                where = f"{other.namespace}/{other.name}"
                kept.keeper.refuse(
                    resource,
                    "NameTaken",
                    f"metadata.name: the registry has one model {resource.name!r}, and it is that "
                    f"of {where}; give this Model another name",
                )
        except NoriaError as error:
            _log.warning("%s/%s: %s", resource.namespace, resource.name, error)
            self._counters.cycle("failed")
        except Exception:  # noqa: BLE001 - one Model's bug must not end the loops of the others
            _log.exception("%s/%s: a bug in Noria", resource.namespace, resource.name)
            self._counters.cycle("bug")
        else:
            self._counters.cycle("done")
        finally:
            kept.since = self._clock()

    def retire(self, resource: Resource) -> bool:
        """Take a deleted Model down; returns whether all of it is gone.

        Raises:
            NoriaError: A part can't be taken down now; call again.
        """
        if self._tools.lost():
            return False
        kept, _ = self._kept_of(resource)
        try:
            done = kept.keeper.retire(resource)
        finally:
            kept.since = self._clock()
        if done:
            with self._lock:
                self._kept.pop(resource.uid, None)
        return done

    def forget(self, uid: str) -> None:
        """Drop a Model that is gone without us."""
        with self._lock:
            kept = self._kept.pop(uid, None)
        if kept is not None:
            kept.keeper.close()

    def turned(self) -> tuple[Turned, ...]:
        """Return each Model's state after its last turn."""
        with self._lock:
            found = [kept.keeper.turned for kept in self._kept.values()]
        return tuple(one for one in found if one is not None)

    def slowest(self) -> float:
        """Return the longest time since a Model's loop last turned, in seconds; 0 without any."""
        with self._lock:
            return max((self._clock() - kept.since for kept in self._kept.values()), default=0.0)

    def close(self) -> None:
        """Wait for the turns that run, and close all connections."""
        with self._lock:
            kept = list(self._kept.values())
        for one in kept:
            one.keeper.close()

    def _kept_of(self, resource: Resource) -> tuple[_Kept, Resource | None]:
        """Return the keeper of a Model, and an older Model of the same name elsewhere."""
        with self._lock:
            kept = self._kept.get(resource.uid)
            if kept is None:
                kept = _Kept(resource, Keeper(self._tools), self._clock())
                self._kept[resource.uid] = kept
            kept.resource = resource
            older = [
                other.resource
                for other in self._kept.values()
                if other.resource.name == resource.name and _age(other.resource) < _age(resource)
            ]
            return kept, older[0] if older else None

    def _older_elsewhere(self, resource: Resource) -> Resource | None:
        """Look whether another namespace has an older Model of this name, not yet watched."""
        for namespace in self._tools.settings.namespaces:
            if namespace == resource.namespace:
                continue
            found = self._tools.client.get(MODEL, resource.name, namespace)
            if found is not None and _age(Resource(found)) < _age(resource):
                return Resource(found)
        return None


def _age(resource: Resource) -> tuple[str, str]:
    return resource.created, resource.uid
