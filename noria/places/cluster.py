"""The loops of one namespace of a cluster: the ``Model`` resources and the loop's store.

The overview is one request: the status that the operator has written. One model's detail adds
the state and the ledger from its ConfigMaps, and its monitor's answers where that can be reached.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from monitoring.client import MonitorClient
from noria.errors import InvalidInput, SpecError
from noria.kube import KubeClient
from noria.kube.kinds import MODEL
from noria.kube.store import KubeStore
from noria.loop.anchor import Evidence, anchors
from noria.loop.ledger import GENESIS, LedgerEntry
from noria.loop.ports import CHAMPION
from noria.loop.retraining import allowance
from noria.loop.state import State
from noria.loop.values import Command
from noria.places import Detail, Place
from noria.places.watched import Watched, watch
from noria.spec import Model, parse_model
from noria.view import Attendance, ModelView
from noria.view.resource import view_of_resource

MONITOR_URL: Final = "http://noria-monitor-{model}.{namespace}.svc:8080"
"""Where the operator puts a model's monitor; reached from inside the cluster."""

_MONITOR_SECONDS: Final = 5.0


class Namespace(Place):
    """Reads the Models of one namespace.

    Args:
        client: The API server.
        name: Where the Models are.
        monitor_url: A template with ``{model}`` and ``{namespace}``.
        tracking_uri: The MLflow server that the ledgers are compared with; None: with none.
    """

    def __init__(
        self,
        client: KubeClient,
        name: str,
        *,
        monitor_url: str = MONITOR_URL,
        tracking_uri: str | None = None,
    ) -> None:
        self._client = client
        self._namespace = name
        self._monitor_url = monitor_url
        self._tracking_uri = tracking_uri
        self._store = KubeStore(client, name)

    @property
    def name(self) -> str:
        """The namespace."""
        return self._namespace

    def overview(self) -> Sequence[ModelView]:
        """Return every Model of the namespace."""
        found = self._client.list(MODEL, self._namespace)
        return sorted(map(view_of_resource, found), key=lambda view: view.name)

    def detail(self, model: str) -> Detail | None:
        """Return one Model with the loop's state."""
        body = self._client.get(MODEL, model, self._namespace)
        if body is None:
            return None
        resource, state = _resource(body), self._state(model)
        allowed = None
        if resource is not None and state is not None:
            allowed = allowance(resource.spec, state, datetime.now(UTC))
        return Detail(view_of_resource(body), resource, state, allowed, self._store.inbox(model))

    def state(self, model: str) -> State | None:
        """Return what the loop remembers."""
        self._find(model)
        return self._state(model)

    def turning(self, model: str) -> bool:
        """Whether an operator has told anything of the Model yet."""
        return view_of_resource(self._find(model)).attendance is Attendance.TURNING

    def entries(self, model: str) -> Iterator[LedgerEntry]:
        """Return the ledger."""
        return self._store.entries(model)

    def evidence(self, model: str) -> Evidence:
        """Return the ledger, and what the registry knows of it, where its address was given."""
        state = self.state(model)
        head = GENESIS if state is None else state.head
        entries = self._store.entries(model)
        if self._tracking_uri is None:
            return Evidence(entries, head)
        from noria.registry import MlflowRegistry

        # Only tags are read: no artifact is downloaded into the folder.
        registry = MlflowRegistry(self._tracking_uri, Path(tempfile.gettempdir()))
        return Evidence(entries, head, anchors(registry, model), registry.alias(model, CHAMPION))

    def watched(self, model: str) -> Watched:
        """Ask the monitor's Service."""
        url = self._monitor_url.format(model=model, namespace=self._namespace)
        with MonitorClient(url, timeout=_MONITOR_SECONDS) as client:
            return watch(client, model)

    def submit(self, model: str, command: Command) -> bool:
        """Put a command into the inbox: one ConfigMap, named by its id."""
        self._find(model)
        return self._store.submit(model, command)

    def _state(self, model: str) -> State | None:
        stored = self._store.load(model)
        return None if stored is None else stored.state

    def _find(self, model: str) -> Mapping[str, Any]:
        found = self._client.get(MODEL, model, self._namespace)
        if found is None:
            raise InvalidInput(
                f"there is no Model {model!r} in the namespace {self._namespace!r}",
                fix=f"see `noria status --namespace {self._namespace}`",
            )
        return found


def _resource(body: Mapping[str, Any]) -> Model | None:
    known = body["metadata"]
    metadata = {"name": known["name"], "namespace": str(known.get("namespace", ""))}
    try:
        return parse_model(
            {
                "apiVersion": body.get("apiVersion", MODEL.api_version),
                "kind": MODEL.kind,
                "metadata": metadata,
                "spec": body.get("spec", {}),
            }
        )
    except SpecError:
        return None  # the operator says why in the condition Ready
