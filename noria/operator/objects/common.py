"""What all owned objects have: names, labels, the owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from noria.kube.kinds import Kind
from noria.operator.resource import Resource
from noria.spec import Model
from serving.traffic.runtime import HTTP_PORT

MANAGER: Final = "noria-operator"
MODEL_LABEL: Final = "noria.dev/model"
NAME_LABEL: Final = "app.kubernetes.io/name"
MONITOR_APP: Final = "noria-monitor"
MONITOR_PORT: Final = 8080


def metrics_port(model: Model) -> int:
    """Return the port of a model's servers that has their metrics."""
    own = model.spec.serving.runtime
    return model.spec.serving.metrics.port or (HTTP_PORT if own is None else own.port)


def monitor_name(model: str) -> str:
    """Return the name of the monitor's objects."""
    return f"noria-monitor-{model}"


def owned_labels(model: str) -> dict[str, str]:
    """Return the labels by which the operator finds what a Model owns."""
    return {"app.kubernetes.io/managed-by": MANAGER, MODEL_LABEL: model}


def monitor_labels(model: str) -> dict[str, str]:
    """Return the labels that select the monitor's pods. They never change."""
    return {NAME_LABEL: MONITOR_APP, MODEL_LABEL: model}


def owned(
    kind: Kind,
    resource: Resource,
    name: str,
    *,
    app: str,
    labels: Mapping[str, str] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """Return an object that belongs to the Model.

    Args:
        kind: Its kind.
        resource: The Model.
        name: Its name.
        app: What it is, for the label ``app.kubernetes.io/name``.
        labels: More labels.
        sections: Its ``spec``, ``data``, ...
    """
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": resource.namespace,
            "labels": {
                **(labels or {}),
                **owned_labels(resource.name),
                NAME_LABEL: app,
                "app.kubernetes.io/instance": resource.name,
                "app.kubernetes.io/part-of": "noria",
            },
            "ownerReferences": [resource.owner_reference],
        },
        **sections,
    }
