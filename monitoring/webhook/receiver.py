"""Takes deliveries into the inbox: durable before it returns, and once however often it comes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

from monitoring.webhook.judge import MODEL_LABEL, NAMESPACE_LABEL, cut_off, message_of
from monitoring.webhook.payload import Alert, Delivery
from noria.errors import InvalidInput, shorten
from noria.loop.ports import Clock, Store
from noria.loop.values import Message, Signal

Route: TypeAlias = Callable[[str], Store | None]
"""Returns the store of a namespace (empty: none was named); None when none of ours is there."""

_MOST_NAMES: Final = 1000
_log = logging.getLogger(__name__)


class Taken(msgspec.Struct, frozen=True):
    """What became of a delivery's alerts. ``unknown`` names models that have no loop here."""

    signals: int
    notices: int
    repeated: int
    unknown: tuple[str, ...]


class Receiver:
    """Puts what alerts say into the inboxes of the models that they are about.

    Args:
        route: Finds the store.
        clock: Now.
    """

    def __init__(self, route: Route, clock: Clock) -> None:
        self._route = route
        self._clock = clock
        self._told: set[str] = set()

    def take(self, delivery: Delivery) -> Taken:
        """Put every alert of a delivery into an inbox.

        An alert about a model that has no loop here is told to the log and in the answer.
        It is no error of the sender: refused, the whole group would be lost with it.

        Raises:
            NoriaError: A store does not answer. Whatever was kept is kept; send all of it again.
        """
        now = self._clock.now()
        counted: Counter[str] = Counter()
        unknown: list[str] = []
        for store, model, alerts in self._by_model(delivery, unknown):
            messages: list[Message] = [message_of(a, delivery.source, now) for a in alerts]
            if delivery.truncated:
                messages.append(cut_off(delivery, alerts, now))
            for message in messages:
                kind = "signals" if isinstance(message, Signal) else "notices"
                counted[kind if store.submit(model, message) else "repeated"] += 1
        return Taken(counted["signals"], counted["notices"], counted["repeated"], tuple(unknown))

    def healthy(self) -> None:
        """Ask the store for something.

        Raises:
            NoriaError: It does not answer.
        """
        store = self._route("")
        if store is not None:
            store.inbox("noria-webhook-health")

    def _by_model(
        self, delivery: Delivery, unknown: list[str]
    ) -> Iterable[tuple[Store, str, list[Alert]]]:
        groups: dict[tuple[str, str], list[Alert]] = {}
        for alert in delivery.alerts:
            where = alert.labels.get(NAMESPACE_LABEL, ""), alert.labels.get(MODEL_LABEL, "")
            groups.setdefault(where, []).append(alert)
        for (namespace, model), alerts in groups.items():
            store = self._store(namespace, model)
            if store is not None:
                yield store, model, alerts
                continue
            name = shorten(f"{namespace}/{model}" if namespace else model)
            unknown.extend(name for _ in alerts)
            self._tell(name, alerts[0], delivery.source)

    def _store(self, namespace: str, model: str) -> Store | None:
        """Return the store of a model that has a loop, None when there is no such model."""
        store = self._route(namespace) if model else None
        try:
            return store if store is not None and store.load(model) is not None else None
        except InvalidInput:  # such a name can't exist
            return None

    def _tell(self, name: str, alert: Alert, source: str) -> None:
        """Log what nobody will find in a ledger: once for each name, which are bounded."""
        known = f"{name} {alert.name}"
        if known in self._told or len(self._told) >= _MOST_NAMES:
            return
        self._told.add(known)
        _log.warning(
            "alert %s of %s is about model %s, which has no loop here; is its label `model` right?",
            shorten(alert.name),
            source,
            name,
        )
