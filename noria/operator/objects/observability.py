"""What Prometheus and Grafana get of one Model: whom to scrape, rules, a dashboard."""

from __future__ import annotations

import json
from typing import Any, Final

from monitoring.dashboards import model_dashboard
from monitoring.rules import prometheus_rule
from noria.kube.kinds import CONFIG_MAP, POD_MONITOR, PROMETHEUS_RULE
from noria.operator.objects.common import (
    MODEL_LABEL,
    MONITOR_APP,
    metrics_port,
    monitor_labels,
    monitor_name,
    owned,
)
from noria.operator.resource import Resource
from noria.operator.settings import Settings
from noria.spec import Model

_FROM_THE_POD: Final = [
    {"sourceLabels": [f"__meta_kubernetes_pod_label_noria_dev_{label}"], "targetLabel": label}
    for label in ("model", "version")
]
"""What Noria's server says of itself, for one that does not know it. A series' own label of that
name becomes ``exported_model``: Prometheus' documentation, ``honor_labels``."""


def pod_monitors(
    resource: Resource, model: Model, settings: Settings
) -> tuple[dict[str, Any], ...]:
    """Return whom Prometheus scrapes: the monitor, and the servers of every version."""
    name, serving = resource.name, model.spec.serving
    servers: dict[str, Any] = {
        # KServe names its container's port as the runtime does, or not at all.
        "portNumber": metrics_port(model),
        "path": serving.metrics.path,
        "interval": "15s",
    }
    if serving.runtime is not None:
        servers["relabelings"] = _FROM_THE_POD
    return (
        owned(
            POD_MONITOR,
            resource,
            monitor_name(name),
            app=MONITOR_APP,
            labels=settings.prometheus_labels,
            spec={
                "selector": {"matchLabels": monitor_labels(name)},
                "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
            },
        ),
        owned(
            POD_MONITOR,
            resource,
            f"noria-server-{name}",
            app="noria-server",
            labels=settings.prometheus_labels,
            spec={
                "selector": {"matchLabels": {MODEL_LABEL: name, "component": "predictor"}},
                "podMetricsEndpoints": [servers],
            },
        ),
    )


def rules(resource: Resource, model: Model, settings: Settings) -> dict[str, Any]:
    """Return the alert rules of a Model."""
    rendered = prometheus_rule(model, resource.namespace, settings.prometheus_labels)
    return owned(
        PROMETHEUS_RULE,
        resource,
        f"noria-{resource.name}",
        app="noria-rules",
        labels=rendered["metadata"].get("labels"),
        spec=rendered["spec"],
    )


def dashboard(resource: Resource, model: Model) -> dict[str, Any]:
    """Return the dashboard of a Model, as Grafana's sidecar finds it."""
    rendered = model_dashboard(model, resource.namespace)
    text = json.dumps(rendered, sort_keys=True, separators=(",", ":"))
    return owned(
        CONFIG_MAP,
        resource,
        f"noria-dashboard-{resource.name}",
        app="noria-dashboard",
        labels={"grafana_dashboard": "1"},
        data={f"noria-{resource.namespace}-{resource.name}.json": text},
    )
