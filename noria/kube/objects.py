"""The ConfigMaps that the loop's store is made of: their names, labels, owner and texts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from noria.errors import InvalidInput, StoreError, shorten
from noria.kube.client import KubeClient
from noria.kube.kinds import CONFIG_MAP, MODEL

T = TypeVar("T")

MODEL_LABEL: Final = "noria.dev/model"
MANAGED: Final[Mapping[str, str]] = {
    "app.kubernetes.io/managed-by": "noria",
    "app.kubernetes.io/part-of": "noria",
}
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Objects:
    """Reads and makes the ConfigMaps of models in one namespace."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    def get(self, model: str, name: str) -> dict[str, Any] | None:
        """Return a ConfigMap of ``model``, or None.

        Raises:
            StoreError: Something else has taken the name.
        """
        found = self.client.get(CONFIG_MAP, name, self.namespace)
        if found is None:
            return None
        owner = (found["metadata"].get("labels") or {}).get(MODEL_LABEL)
        if owner != model:
            raise StoreError(
                f"ConfigMap {self.namespace}/{name} has label {MODEL_LABEL}={shorten(owner)} "
                f"and not {model!r}: it is not the loop's",
                fix="rename the model, or delete the ConfigMap if nothing needs it",
            )
        return found

    def create(self, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a ConfigMap; the ``Model`` owns it if there is one.

        The owner is looked up each time: an object that names a ``Model`` of the same
        name that was deleted meanwhile would be collected as garbage at once.

        Raises:
            Conflict: It exists.
        """
        owner = self.client.get(MODEL, model, self.namespace)
        metadata = dict(body["metadata"])
        if owner is not None:
            metadata["ownerReferences"] = [
                {
                    "apiVersion": MODEL.api_version,
                    "kind": MODEL.kind,
                    "name": model,
                    "uid": owner["metadata"]["uid"],
                }
            ]
        return self.client.create(CONFIG_MAP, {**body, "metadata": metadata}, self.namespace)


def loop_name(model: str) -> str:
    """Return the name of the ConfigMap with the state."""
    return f"noria-{_checked(model)}-loop"


def segment_name(model: str, first: int) -> str:
    """Return the name of the ConfigMap whose entries begin with sequence ``first``."""
    return f"noria-{_checked(model)}-ledger-{first:012d}"


def message_name(model: str, message_id: str) -> str:
    """Return the name of a message's ConfigMap: its id may be any text, so its digest."""
    return f"noria-{_checked(model)}-inbox-{hashlib.sha256(message_id.encode()).hexdigest()}"


def config_map(
    model: str, name: str, data: Mapping[str, str], labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the body of a ConfigMap of ``model``."""
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": {"name": name, "labels": {**MANAGED, MODEL_LABEL: model, **(labels or {})}},
        "data": dict(data),
    }


def text(found: Mapping[str, Any], key: str) -> str:
    """Return one text of a ConfigMap.

    Raises:
        StoreError: It isn't there.
    """
    data = found.get("data") or {}
    if key not in data:
        raise StoreError(f"ConfigMap {found['metadata']['name']} has no key {key!r}")
    return str(data[key])


def lines(found: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the lines of one text; only a line feed ends one, as entries may hold others.

    Raises:
        StoreError: It isn't there.
    """
    said = text(found, key)
    return tuple(said.split("\n")) if said else ()


def parsed(name: str, said: str, read: Callable[[str], T]) -> T:
    """Return what ``read`` makes of a text in the ConfigMap ``name``.

    Raises:
        StoreError: It can't be read.
    """
    try:
        return read(said)
    except (InvalidInput, ValueError) as error:
        raise StoreError(f"ConfigMap {name} holds what can't be read: {error}") from error


def _checked(model: str) -> str:
    if not _LABEL.fullmatch(model):
        raise InvalidInput(
            f"the model's name {shorten(model)} is no DNS label",
            fix="use at most 63 of a-z, 0-9 and -, with no - at the ends",
        )
    return model
