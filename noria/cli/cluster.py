"""What the commands ask of the loops in a namespace of a cluster.

The operator turns them; here its Models and its store are read, and commands are put into
its inbox. The cluster is the one that ``kubectl`` speaks to: ``$KUBECONFIG``, else the pod's own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from noria.errors import InvalidInput

if TYPE_CHECKING:
    from noria.kube import KubeClient
    from noria.loop.ledger import Head, LedgerEntry


class Namespace:
    """The loops of one namespace.

    Args:
        client: The API server.
        name: Where the Models are.
    """

    def __init__(self, client: KubeClient, name: str) -> None:
        from noria.kube.store import KubeStore

        self._client = client
        self._name = name
        self._store = KubeStore(client, name)

    def models(self) -> Sequence[Mapping[str, Any]]:
        """Return every Model as the API server has it, by name."""
        from noria.kube.kinds import MODEL

        found = self._client.list(MODEL, self._name)
        return sorted(found, key=lambda body: str(body["metadata"]["name"]))

    def entries(self, model: str) -> Iterable[LedgerEntry]:
        """Return a Model's ledger, oldest first.

        Raises:
            InvalidInput: There is no such Model.
        """
        self._find(model)
        return self._store.entries(model)

    def head(self, model: str) -> Head:
        """Return the end of a Model's ledger as the loop's state remembers it.

        Raises:
            InvalidInput: There is no such Model.
        """
        from noria.loop.ledger import GENESIS

        self._find(model)
        stored = self._store.load(model)
        return GENESIS if stored is None else stored.state.head

    def submit(self, model: str, verb: str, reason: str, by: str) -> None:
        """Put a command into a Model's durable inbox; the operator takes it at its next turn.

        Raises:
            InvalidInput: There is no such Model.
        """
        from noria.loop.values import Command, Verb

        self._find(model)
        command = Command(uuid.uuid4().hex, Verb(verb), datetime.now(UTC), by, reason)
        self._store.submit(model, command)

    def turning(self, model: str) -> bool:
        """Whether an operator has told anything of the Model yet."""
        return bool((self._find(model).get("status") or {}).get("conditions"))

    def _find(self, model: str) -> Mapping[str, Any]:
        from noria.kube.kinds import MODEL

        found = self._client.get(MODEL, model, self._name)
        if found is None:
            raise InvalidInput(
                f"there is no Model {model!r} in the namespace {self._name!r}",
                fix=f"see `noria status --namespace {self._name}`",
            )
        return found


def connected(namespace: str) -> Namespace:
    """Return the loops of a namespace of the cluster that ``kubectl`` speaks to.

    Raises:
        NoriaError: There is no cluster to speak to.
    """
    from noria.kube import KubeClient

    return Namespace(KubeClient.connect(), namespace)


def facts(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a Model's status says, in the words of ``noria status``; no empty ones."""
    status: Mapping[str, Any] = body.get("status") or {}
    told = {condition["type"]: condition for condition in status.get("conditions") or ()}
    training = told.get("Training", {})
    said = [
        ("url", status.get("url")),
        ("champion", _version(status.get("champion"))),
        ("candidate", _version(status.get("candidate"))),
        ("traffic", status.get("traffic")),
        ("verdict", status.get("lastVerdict")),
        ("run", training.get("message") if training.get("status") == "True" else None),
        ("retrains left", status.get("retrainsLeft")),
        *(("problem", problem) for problem in _problems(told)),
    ]
    return [(name, str(value)) for name, value in said if value not in (None, "")]


def _version(name: object) -> str:
    return f"v{name}" if name else ""


def _problems(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what the conditions say is not as it should be."""
    good = {"Ready": "True", "Monitored": "True", "Degraded": "False"}
    bad = [
        told[kind]
        for kind, wanted in good.items()
        if kind in told and told[kind]["status"] != wanted
    ]
    return [
        f"{condition['reason']}: {condition['message']}" if condition.get("message")
        else str(condition["reason"])
        for condition in bad
    ]  # fmt: skip
