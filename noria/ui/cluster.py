"""The state of one namespace of a cluster: the ``Model`` resources' status and the loop's store.

The overview is one request, what ``kubectl get models`` shows. A model's page adds the state
and the ledger from its ConfigMaps, and its monitor's answers where the monitor can be reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from monitoring.client import MonitorClient
from noria.errors import SpecError
from noria.kube import KubeClient
from noria.kube.kinds import MODEL
from noria.kube.store import KubeStore
from noria.loop.ledger import LedgerEntry
from noria.loop.retraining import allowance
from noria.loop.state import State
from noria.loop.values import Command
from noria.spec import Model, parse_model
from noria.ui.source import Attendance, Detail, Source, Summary
from noria.ui.stage import (
    condition,
    last_of,
    read_last,
    read_split,
    read_stage,
    stage_of,
    step_of,
)
from noria.ui.watched import Watched, watch

MONITOR_URL: Final = "http://noria-monitor-{model}.{namespace}.svc:8080"
"""Where the operator puts a model's monitor; reached from inside the cluster."""

_MONITOR_SECONDS: Final = 5.0


class ClusterSource(Source):
    """Reads the Models of one namespace.

    Args:
        client: The API server.
        namespace: Where the Models are.
        monitor_url: A template with ``{model}`` and ``{namespace}``.
    """

    def __init__(
        self, client: KubeClient, namespace: str, *, monitor_url: str = MONITOR_URL
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._monitor_url = monitor_url
        self._store = KubeStore(client, namespace)

    @property
    def place(self) -> str:
        """The namespace."""
        return self._namespace

    def overview(self) -> Sequence[Summary]:
        """Return every Model of the namespace."""
        found = self._client.list(MODEL, self._namespace)
        return [_summary(body) for body in sorted(found, key=_name)]

    def detail(self, name: str) -> Detail | None:
        """Return one Model with the loop's state."""
        body = self._client.get(MODEL, name, self._namespace)
        if body is None:
            return None
        model = _model(body)
        stored = self._store.load(name)
        state = None if stored is None else stored.state
        summary = _summary(body, model, state)
        allowed = None
        if model is not None and state is not None:
            allowed = allowance(model.spec, state, datetime.now(UTC))
        return Detail(summary, model, state, allowed, self._store.inbox(name))

    def watched(self, detail: Detail) -> Watched:
        """Ask the monitor's Service."""
        name = detail.summary.name
        url = self._monitor_url.format(model=name, namespace=self._namespace)
        with MonitorClient(url, timeout=_MONITOR_SECONDS) as client:
            return watch(client, name)

    def entries(self, name: str) -> Iterator[LedgerEntry]:
        """Yield the ledger."""
        return self._store.entries(name)

    def submit(self, name: str, command: Command) -> bool:
        """Put a command into the inbox: one ConfigMap, named by its id."""
        return self._store.submit(name, command)


def _name(body: Mapping[str, Any]) -> str:
    return str(body["metadata"]["name"])


def _model(body: Mapping[str, Any]) -> Model | None:
    metadata = {"name": _name(body), "namespace": str(body["metadata"].get("namespace", ""))}
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


def _summary(
    body: Mapping[str, Any], model: Model | None = None, state: State | None = None
) -> Summary:
    """Return a model's line; from the state itself when that was read, as it is newer."""
    status: Mapping[str, Any] = body.get("status") or {}
    candidate = str(status.get("candidate") or "") or None
    stage, step, paused = read_stage(str(status.get("stage") or ""), candidate=bool(candidate))
    champion = str(status.get("champion") or "") or None
    last = read_last(str(status.get("lastVerdict") or ""))
    degraded = condition(status, "Degraded")
    alerts = [str(degraded.get("message"))] if degraded.get("status") == "True" else []
    breaker_open = any("loop-breaker" in alert for alert in alerts)
    if state is not None:
        rollout = state.rollout
        stage = stage_of(state)
        step = None if model is None else step_of(model.spec, state)
        champion, last, breaker_open = state.champion, last_of(state), state.breaker is not None
        candidate = None if rollout is None else rollout.version
        paused = rollout is not None and rollout.paused is not None
    left = status.get("retrainsLeft")
    return Summary(
        name=_name(body),
        stage=stage,
        attendance=Attendance.TURNING if status.get("conditions") else Attendance.STOPPED,
        champion=champion,
        candidate=candidate,
        weights=read_split(str(status.get("traffic") or "")),
        step=step,
        paused=paused,
        last=last,
        retrains_left=int(left) if left is not None else None,
        alerts=alerts,
        breaker_open=breaker_open,
        problem=_problem(status),
        url=str(status.get("url") or "") or None,
    )


def _problem(status: Mapping[str, Any]) -> str | None:
    for kind in ("Ready", "Monitored"):
        found = condition(status, kind)
        if found.get("status") == "False" and found.get("reason") != "NoVersionYet":
            return f"{found.get('reason', kind)}: {found.get('message', '')}"
    return None
