"""Keeps the objects of a Model as they should be: applied, repaired, taken away again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from noria.errors import ClusterError, Conflict, InvalidInput
from noria.kube.client import KubeClient
from noria.kube.kinds import PVC, Kind
from noria.operator.objects import OPTIONAL, OWNED, kind_of
from noria.operator.objects.common import MANAGER, owned_labels
from noria.operator.resource import Resource


class OwnedObjects:
    """Applies the objects of Models with the field manager ``noria-operator``."""

    manager: Final = MANAGER

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    def served(self) -> frozenset[Kind]:
        """Return the optional kinds that the cluster has."""
        return frozenset(kind for kind in OPTIONAL if self._client.has_kind(kind))

    def keep(self, resource: Resource, wanted: Sequence[dict[str, Any]]) -> None:
        """Make the cluster hold the wanted objects of a Model and no others of its own.

        One that can't be had does not keep the others from being made.

        Raises:
            ClusterError: The API server refuses one, or an object of that name belongs to
                somebody else and is left alone; the message has all of them.
            Unavailable: The API server does not answer.
        """
        problems = []
        for body in wanted:
            try:
                self._apply(resource, body)
            except (ClusterError, Conflict, InvalidInput) as error:
                problems.append(str(error))
        self._prune(resource, wanted)
        if problems:
            raise ClusterError("; ".join(problems))

    def _apply(self, resource: Resource, body: dict[str, Any]) -> None:
        kind, name = kind_of(body), body["metadata"]["name"]
        found = self._client.get(kind, name, resource.namespace)
        if found is not None and not _owned_by(found, resource):
            raise Conflict(
                f"{kind.kind} {name} in {resource.namespace} is not of Model {resource.name}",
                fix="delete or rename it; one of a deleted Model of this name goes by itself",
            )
        if found is not None and kind == PVC:
            return  # Kubernetes lets nobody change a claim; settings are for new ones
        self._client.apply(kind, body, resource.namespace, manager=self.manager)

    def _prune(self, resource: Resource, wanted: Sequence[dict[str, Any]]) -> None:
        served = self.served()
        names = {(kind_of(body), body["metadata"]["name"]) for body in wanted}
        for kind in OWNED:
            if kind in OPTIONAL and kind not in served:
                continue
            labels = owned_labels(resource.name)
            for found in self._client.list(kind, resource.namespace, labels=labels):
                name = found["metadata"]["name"]
                if (kind, name) not in names and _owned_by(found, resource):
                    self._client.delete(kind, name, resource.namespace)


def _owned_by(found: dict[str, Any], resource: Resource) -> bool:
    owners = found["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == resource.uid for owner in owners)
