"""The loop's store on a Kubernetes API: a few ConfigMaps a model, and no database.

* ``noria-MODEL-loop`` (``noria.kube.record``) holds the state, the ledger's tail and
  what was just taken from the inbox. One request replaces all of it, if its
  ``resourceVersion`` is still the one that was loaded.
* ``noria-MODEL-ledger-FIRST`` (``noria.kube.segments``) holds older entries.
* ``noria-MODEL-inbox-SHA256`` (``noria.kube.inbox``) holds one message.

Where a ``Model`` of the name exists it owns them all, so they go when it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from noria.errors import Conflict, StoreError
from noria.kube.client import KubeClient
from noria.kube.inbox import Inbox
from noria.kube.kinds import CONFIG_MAP
from noria.kube.objects import Objects, config_map, loop_name, message_name, parsed
from noria.kube.record import MAX_RECORD_BYTES, Record
from noria.kube.segments import Segments
from noria.loop.ledger import LedgerEntry
from noria.loop.state import State, Stored
from noria.loop.values import Message, from_json


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KubeStore:
    """A ``Store`` in one namespace. Safe from many threads, processes and machines.

    Besides what the port names, each call may raise the errors of ``KubeClient``.
    After ``Unavailable`` a write was done as a whole or not at all: load and see.

    Args:
        client: The API server.
        namespace: Where the ConfigMaps are.
        now: Tells the time; only how long ids are remembered hangs on it.
    """

    def __init__(
        self, client: KubeClient, namespace: str, *, now: Callable[[], datetime] = _utc_now
    ) -> None:
        self._objects = Objects(client, namespace)
        self._segments = Segments(self._objects)
        self._inbox = Inbox(self._objects, now)

    def load(self, model: str) -> Stored | None:
        """Return the state and its revision; None before the first write.

        The revision is the ConfigMap's ``resourceVersion``: a decimal number that no two
        writes share (Kubernetes API Concepts, "Resource versions"), also not those to
        an object that was deleted and made anew.

        Raises:
            StoreError: The ConfigMap holds what can't be read.
        """
        record = self._record(model)
        return None if record is None else Stored(record.loaded(), record.revision)

    def compare_and_swap(
        self,
        model: str,
        state: State,
        revision: int,
        entries: Sequence[LedgerEntry],
        consumed: Sequence[str] = (),
    ) -> int:
        """Write state, entries and consumed ids in one request, or nothing at all.

        Raises:
            Conflict: Somebody else wrote first, or an entry doesn't follow the last.
            StoreError: It would be too large for one object; the message gives the sizes.
        """
        found = self._record(model) or Record(loop_name(model))
        if found.revision != revision:
            raise Conflict(
                f"the state of {model!r} is at revision {found.revision}, not {revision}",
                fix="load it and decide again",
            )
        taken = tuple(message_name(model, message_id) for message_id in consumed)
        # Refused before anything is touched; then again with what there is left to remember.
        found.written(state, entries, taken)
        settled = self._inbox.settle(model, found.consumed)
        record = self._segments.cut(model, found).written(state, entries, (*settled, *taken))
        _check_size(model, record)
        return self._put(model, record)

    def entries(self, model: str, after: int = 0) -> Iterator[LedgerEntry]:
        """Yield ledger entries with a sequence above ``after``, in order.

        Raises:
            StoreError: A part of the ledger is missing or can't be read.
        """
        # The record first: what leaves its tail from now on is still in this copy of it.
        record = self._record(model)
        if record is None:
            return
        yield from self._segments.entries(model, record, after)
        for line in record.tail[max(0, after - record.archived) :]:
            yield parsed(record.name, line, _entry)

    def submit(self, model: str, message: Message) -> bool:
        """Put a message in the inbox, durably. False when its id was there before.

        Ids are known for ``noria.kube.inbox.REMEMBERED`` after they were consumed or
        last submitted.

        Raises:
            StoreError: The message is too large.
        """
        return self._inbox.submit(model, message)

    def inbox(self, model: str) -> tuple[Message, ...]:
        """Return the messages not yet consumed, in order of arrival, the first 200 at most.

        Raises:
            StoreError: A message can't be read.
        """
        # The record first: what it no longer hides was relabelled before, so the list,
        # which is later, leaves it out. What is consumed between the two changes the revision.
        record = self._record(model)
        return self._inbox.waiting(model, () if record is None else record.consumed)

    def _record(self, model: str) -> Record | None:
        found = self._objects.get(model, loop_name(model))
        return None if found is None else Record.read(found)

    def _put(self, model: str, record: Record) -> int:
        body = config_map(model, record.name, record.data())
        if record.revision == 0:
            made = self._objects.create(model, body)
        else:
            # All of the metadata that was read: its resource version, and what others added.
            body["metadata"] = dict(record.metadata)
            made = self._objects.client.replace(CONFIG_MAP, body, self._objects.namespace)
        return int(made["metadata"]["resourceVersion"])


def _check_size(model: str, record: Record) -> None:
    sizes = record.sizes()
    if sum(sizes.values()) > MAX_RECORD_BYTES:
        parts = ", ".join(f"{key} {size}" for key, size in sizes.items())
        raise StoreError(
            f"the state of {model!r} is too large for ConfigMap {record.name}: {parts} bytes, "
            f"together at most {MAX_RECORD_BYTES}"
        )


def _entry(line: str) -> LedgerEntry:
    return from_json(line, LedgerEntry)
