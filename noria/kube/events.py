"""Kubernetes Events about an object, as ``kubectl describe`` shows them.

They are core/v1 Events: the kind that every kubectl reads, with ``count`` and
``lastTimestamp``. The same event again raises the count of the one there is; a storm
of it is counted here and written now and then. As in client-go's correlator, many
different messages of one reason become one "combined" event.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from noria.errors import Conflict, InvalidInput, NoriaError, shorten
from noria.kube.client import KubeClient
from noria.kube.kinds import EVENT
from noria.kube.objects import MANAGED

MAX_MESSAGE_BYTES: Final = 1024
QUIET: Final = timedelta(seconds=30)
"""The same event is written at most this often."""

DISTINCT: Final = 10
"""Different messages of one reason about one object within ``WINDOW``; more are combined."""

WINDOW: Final = timedelta(minutes=10)
_COMBINED: Final = "(combined from similar events) "
_MAX_REASON: Final = 128
_REMEMBERED: Final = 2048
_ATTEMPTS: Final = 4
_log = logging.getLogger(__name__)


class EventType(StrEnum):
    """``NORMAL``: it goes as it should. ``WARNING``: somebody may have to look."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class _Seen:
    """When an event was last written, and how often it happened since."""

    written: datetime
    unwritten: int = 0


class Events:
    """Writes Events as one component. Safe to use from many threads.

    Args:
        client: The API server.
        component: Who reports: ``noria-operator``.
        instance: Which process of it: a pod's name.
        now: Tells the time.
    """

    def __init__(
        self,
        client: KubeClient,
        component: str,
        *,
        instance: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._component = component
        self._instance = instance
        self._now = now
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._messages: OrderedDict[tuple[str, str], dict[str, datetime]] = OrderedDict()

    def record(
        self,
        about: Mapping[str, Any],
        reason: str,
        message: str,
        kind: EventType = EventType.NORMAL,
    ) -> bool:
        """Say that something happened to the object ``about``, as the API gave it.

        Events are told on a best effort: what can't be written is logged. True: it was written.

        Args:
            about: The object; its kind, name, namespace and uid are used.
            reason: One word in CamelCase, such as ``Promoted``.
            message: A sentence; cut to 1 KiB of UTF-8.
            kind: Normal or warning.

        Raises:
            InvalidInput: The reason is no word, or the object has no name.
        """
        if not reason.isalnum() or len(reason) > _MAX_REASON:
            raise InvalidInput(
                f"reason {shorten(reason)} of an event is no word", fix="such as Promoted"
            )
        target = _target(about)
        told, identity = self._combined(str(target["uid"]), reason, _cut(message))
        key = _key(target, reason, identity, kind, self._component)
        count = self._due(key)
        if count == 0:
            return False
        try:
            self._write(key, target, reason, told, kind, count)
        except NoriaError as error:
            _log.warning("event %s about %s is lost: %s", reason, target["name"], error)
            return False
        return True

    def _combined(self, uid: str, reason: str, message: str) -> tuple[str, str]:
        """Return the message to show and the one that tells events apart."""
        now = self._now()
        with self._lock:
            recent = {
                text: at
                for text, at in self._messages.pop((uid, reason), {}).items()
                if now - at < WINDOW
            }
            combined = message not in recent and len(recent) >= DISTINCT
            if not combined:
                recent[message] = now
            self._messages[uid, reason] = recent
            while len(self._messages) > _REMEMBERED:
                self._messages.popitem(last=False)
        return (_cut(_COMBINED + message), _COMBINED) if combined else (message, message)

    def _due(self, key: str) -> int:
        """Return how many occurrences are to be written now; 0 while it is too early."""
        now = self._now()
        with self._lock:
            seen = self._seen.pop(key, None)
            early = seen is not None and now - seen.written < QUIET
            before = 0 if seen is None else seen.unwritten
            if early and seen is not None:
                self._seen[key] = _Seen(seen.written, before + 1)
                return 0
            self._seen[key] = _Seen(now)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return before + 1

    def _write(
        self,
        key: str,
        target: Mapping[str, Any],
        reason: str,
        message: str,
        kind: EventType,
        count: int,
    ) -> None:
        namespace = target.get("namespace") or "default"
        name = f"{target['name'][:200].rstrip('-.')}.{key[:24]}"
        now = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        for _ in range(_ATTEMPTS):
            found = self._client.get(EVENT, name, namespace)
            try:
                if found is None:
                    metadata = {"name": name, "namespace": namespace, "labels": dict(MANAGED)}
                    body = {
                        "apiVersion": EVENT.api_version,
                        "kind": EVENT.kind,
                        "metadata": metadata,
                        "involvedObject": dict(target),
                        "reason": reason,
                        "message": message,
                        "type": kind.value,
                        "count": count,
                        "firstTimestamp": now,
                        "lastTimestamp": now,
                        "source": {"component": self._component},
                        "reportingComponent": self._component,
                        "reportingInstance": self._instance,
                    }
                    self._client.create(EVENT, body, namespace)
                else:
                    change = {
                        "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
                        "count": int(found.get("count") or 0) + count,
                        "message": message,
                        "lastTimestamp": now,
                    }
                    self._client.patch_merge(EVENT, name, namespace, change)
            except Conflict:
                continue
            return
        raise Conflict(f"event {namespace}/{name} keeps changing")


def _target(about: Mapping[str, Any]) -> dict[str, Any]:
    metadata = about.get("metadata") or {}
    if not metadata.get("name") or not about.get("kind"):
        raise InvalidInput(
            f"an event must be about an object: {shorten(about)}", fix="give it as the API has it"
        )
    target = {
        "apiVersion": about.get("apiVersion", ""),
        "kind": about["kind"],
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    return {**target, "namespace": metadata["namespace"]} if metadata.get("namespace") else target


def _key(target: Mapping[str, Any], *parts: str) -> str:
    """Return what tells an event from others: the object, and what is said of it."""
    about = (target["kind"], target.get("namespace", ""), target["name"], target["uid"])
    return hashlib.sha256("\0".join((*about, *parts)).encode()).hexdigest()


def _cut(message: str) -> str:
    data = message.encode()
    if len(data) <= MAX_MESSAGE_BYTES:
        return message
    return data[: MAX_MESSAGE_BYTES - 3].decode(errors="ignore") + "…"
