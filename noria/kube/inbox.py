"""The inbox: one ConfigMap a message, named by the digest of the message's id.

Creating it is the durable write and the check for a duplicate in one request. What a
write consumes is named in the loop's record first, which makes it atomic with the
state; the next write relabels those messages and lets the record forget them. So the
record stays small, and a message is hidden by its label or by the record, at any time.

Relabelled messages remain as the memory of ids. That memory is bounded by time, not by
number: an id that nobody has repeated for ``REMEMBERED`` after it was consumed is
forgotten. Alertmanager and Grafana repeat an alert within hours while it fires, and
each repeat counts anew, so a forgotten id is one whose sender has long fallen silent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from noria.errors import ClusterError, Conflict, StoreError, Unavailable
from noria.kube.kinds import CONFIG_MAP
from noria.kube.objects import Objects, config_map, message_name, parsed, text
from noria.loop.values import Message, message_from_json, to_json

REMEMBERED: Final = timedelta(days=30)
"""How long an id is known after it was consumed or last submitted."""

MAX_MESSAGE_BYTES: Final = 64 * 1024
BATCH: Final = 200
"""Messages returned at once: what one write can consume has to fit into the record."""

INBOX_LABEL: Final = "noria.dev/inbox"
CONSUMED_LABEL: Final = "noria.dev/consumed"
_HEARD: Final = "noria.dev/heard"
_HEARD_AGAIN: Final = timedelta(days=1)
_SWEEP_EVERY: Final = timedelta(hours=1)
_ATTEMPTS: Final = 5
_log = logging.getLogger(__name__)


class Inbox:
    """Messages of the models in one namespace."""

    def __init__(self, objects: Objects, now: Callable[[], datetime]) -> None:
        self._objects = objects
        self._now = now
        self._swept: dict[str, datetime] = {}

    def submit(self, model: str, message: Message) -> bool:
        """Keep a message. False when its id is known.

        Raises:
            StoreError: It is too large.
            Conflict: Others kept changing the same message.
        """
        said = to_json(message).decode()
        if (size := len(said.encode())) > MAX_MESSAGE_BYTES:
            raise StoreError(
                f"message {message.id!r} has {size} bytes; at most {MAX_MESSAGE_BYTES} are kept"
            )
        name = message_name(model, message.id)
        body = {
            **config_map(model, name, {"message": said}, {INBOX_LABEL: model}),
            "immutable": True,
        }
        for _ in range(_ATTEMPTS):
            try:
                self._objects.create(model, body)
            except Conflict:
                if self._hear(model, name):
                    return False
            else:
                return True
        raise Conflict(f"message {message.id!r} of {model!r} keeps changing", fix="submit it again")

    def waiting(self, model: str, consumed: Sequence[str]) -> tuple[Message, ...]:
        """Return up to ``BATCH`` messages that are not among the ``consumed`` names, oldest first.

        Raises:
            StoreError: A message can't be read.
        """
        found = [
            item
            for item in self._objects.client.list(
                CONFIG_MAP, self._objects.namespace, labels={INBOX_LABEL: model}
            )
            if item["metadata"]["name"] not in set(consumed)
        ]
        # Seconds are too coarse for the order of arrival; nothing changes a waiting message,
        # so its resource version is still that of its creation.
        found.sort(key=lambda item: int(item["metadata"]["resourceVersion"]))
        return tuple(
            parsed(item["metadata"]["name"], text(item, "message"), message_from_json)
            for item in found[:BATCH]
        )

    def settle(self, model: str, consumed: Sequence[str]) -> tuple[str, ...]:
        """Relabel messages that a stored write consumed; return those that could not be.

        It fails for nobody: the record goes on hiding what could not be relabelled.
        """
        left = tuple(name for name in consumed if not self._relabelled(model, name))
        if consumed:
            self._sweep(model)
        return left

    def _relabelled(self, model: str, name: str) -> bool:
        labels = {INBOX_LABEL: None, CONSUMED_LABEL: model}
        metadata = {"labels": labels, "annotations": {_HEARD: self._now().isoformat()}}
        try:
            self._objects.client.patch_merge(
                CONFIG_MAP, name, self._objects.namespace, {"metadata": metadata}
            )
        except Conflict:
            return True  # It is gone, so nothing is left to hide.
        except (ClusterError, Unavailable) as error:
            _log.warning("a consumed message stays in the record for now: %s", error)
            return False
        return True

    def _hear(self, model: str, name: str) -> bool:
        """Note that a known id was repeated. False when it has been forgotten meanwhile."""
        found = self._objects.get(model, name)
        if found is None:
            return False
        metadata = found["metadata"]
        if CONSUMED_LABEL not in metadata["labels"]:
            return True
        if self._now() - _heard(metadata) < _HEARD_AGAIN:
            return True
        change = {
            "resourceVersion": metadata["resourceVersion"],
            "annotations": {_HEARD: self._now().isoformat()},
        }
        try:
            self._objects.client.patch_merge(
                CONFIG_MAP, name, self._objects.namespace, {"metadata": change}
            )
        except Conflict:
            return False
        return True

    def _sweep(self, model: str) -> None:
        """Forget ids that have been silent for long; at most once in a while."""
        now = self._now()
        if now - self._swept.get(model, datetime.min.replace(tzinfo=UTC)) < _SWEEP_EVERY:
            return
        self._swept[model] = now
        client, namespace = self._objects.client, self._objects.namespace
        try:
            for item in client.list(CONFIG_MAP, namespace, labels={CONSUMED_LABEL: model}):
                metadata = item["metadata"]
                if now - _heard(metadata) > REMEMBERED:
                    _forget(self._objects, metadata)
        except (ClusterError, Unavailable) as error:
            _log.warning("old messages of %s are kept for now: %s", model, error)


def _forget(objects: Objects, metadata: Mapping[str, Any]) -> None:
    try:
        objects.client.delete(
            CONFIG_MAP,
            metadata["name"],
            objects.namespace,
            resource_version=metadata["resourceVersion"],
        )
    except Conflict:
        _log.debug("%s was heard of just now", metadata["name"])


def _heard(metadata: Mapping[str, Any]) -> datetime:
    said = (metadata.get("annotations") or {}).get(_HEARD) or metadata["creationTimestamp"]
    heard = parsed(metadata["name"], said, datetime.fromisoformat)
    return heard if heard.tzinfo is not None else heard.replace(tzinfo=UTC)
