"""What the operator may do, and why: the chart's roles equal this list, and tests run with it.

Everything is granted by Roles in the namespaces of the Models, but the Lease: it is in the
operator's own namespace. There is no ClusterRole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

Scope = Literal["models", "operator"]


@dataclass(frozen=True, slots=True)
class Permission:
    """Verbs on a resource. ``scope``: in the Models' namespaces, or in the operator's own."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    reason: str
    scope: Scope = "models"


_KEPT: Final = ("get", "list", "create", "patch", "delete")

PERMISSIONS: Final = (
    Permission(
        "noria.dev",
        "models",
        ("get", "list", "watch", "patch"),
        "sees Models; sets the finalizer and takes a done command's annotation away",
    ),
    Permission("noria.dev", "models/status", ("patch",), "tells what the loop does"),
    Permission(
        "noria.dev",
        "models/finalizers",
        ("update",),
        "makes objects that block the deletion of the Model that owns them",
    ),
    Permission(
        "",
        "configmaps",
        (*_KEPT, "update"),
        "the loop's state and ledger by compare-and-swap; the monitor's configuration; dashboards",
    ),
    Permission("", "services", _KEPT, "the Service of each monitor"),
    Permission("", "persistentvolumeclaims", _KEPT, "the claim of each monitor"),
    Permission("apps", "deployments", _KEPT, "the Deployment of each monitor"),
    Permission(
        "",
        "pods",
        ("list",),
        "where a version's servers are, whose counters judge a canary; why they don't start",
    ),
    Permission(
        "", "events", ("get", "create", "patch"), "tells each change of the loop, and alerts"
    ),
    Permission(
        "monitoring.coreos.com",
        "podmonitors",
        _KEPT,
        "whom Prometheus scrapes, where its operator is installed",
    ),
    Permission(
        "monitoring.coreos.com",
        "prometheusrules",
        _KEPT,
        "the alert rules of each Model, where its operator is installed",
    ),
    Permission(
        "serving.kserve.io",
        "inferenceservices",
        (*_KEPT, "update"),
        "serves versions and splits the traffic between them",
    ),
    Permission(
        "gateway.networking.k8s.io",
        "httproutes",
        (*_KEPT, "update"),
        "splits the traffic between versions, and sees which split is in force",
    ),
    Permission(
        "coordination.k8s.io",
        "leases",
        ("get", "create", "update"),
        "one operator acts at a time",
        scope="operator",
    ),
)


def rules(scope: Scope, permissions: Iterable[Permission] = PERMISSIONS) -> list[dict[str, Any]]:
    """Return the ``rules`` of the Role of a scope."""
    return [
        {
            "apiGroups": [permission.group],
            "resources": [permission.resource],
            "verbs": list(permission.verbs),
        }
        for permission in permissions
        if permission.scope == scope
    ]
