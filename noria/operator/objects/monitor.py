"""The monitor of one Model: its configuration, its claim, its Service, its Deployment.

The pod meets the restricted Pod Security Standard (Kubernetes, "Pod Security Standards").
"""

from __future__ import annotations

import hashlib
from typing import Any, Final
from urllib.parse import urlsplit

from monitoring.written import write
from noria.kube.kinds import CONFIG_MAP, DEPLOYMENT, PVC, SERVICE
from noria.operator.objects.common import (
    MONITOR_APP,
    MONITOR_PORT,
    monitor_labels,
    monitor_name,
    owned,
)
from noria.operator.resource import Resource
from noria.operator.settings import Settings
from noria.spec import Model

_UID: Final = 65532
_CONFIG: Final = "/etc/noria"
_STATE: Final = "/var/lib/noria"
_ANSWERS: Final = {"httpGet": {"path": "/livez", "port": "http"}}
"""It is ready once it answers: one that is blind gets its reference through the Service."""


def monitor_objects(
    resource: Resource, model: Model, settings: Settings
) -> tuple[dict[str, Any], ...]:
    """Return the ConfigMap, the claim, the Service and the Deployment of a Model's monitor."""
    name = monitor_name(resource.name)
    written = write(model)
    return (
        owned(CONFIG_MAP, resource, name, app=MONITOR_APP, data={"monitor.json": written}),
        owned(PVC, resource, name, app=MONITOR_APP, spec=_claim(settings)),
        owned(SERVICE, resource, name, app=MONITOR_APP, spec=_service(resource)),
        owned(
            DEPLOYMENT,
            resource,
            name,
            app=MONITOR_APP,
            spec=_deployment(resource, settings, written),
        ),
    )


def _claim(settings: Settings) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": settings.monitor_storage_size}},
    }
    if settings.monitor_storage_class:
        spec["storageClassName"] = settings.monitor_storage_class
    return spec


def _service(resource: Resource) -> dict[str, Any]:
    return {
        "type": "ClusterIP",
        "selector": monitor_labels(resource.name),
        "ports": [
            {"name": "http", "port": MONITOR_PORT, "targetPort": "http", "protocol": "TCP"},
        ],
    }


def _deployment(resource: Resource, settings: Settings, written: str) -> dict[str, Any]:
    labels = monitor_labels(resource.name)
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # It ends by itself once what it acknowledged is on disk.
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(resource, settings)],
        "volumes": [
            {"name": "config", "configMap": {"name": monitor_name(resource.name)}},
            {"name": "state", "persistentVolumeClaim": {"claimName": monitor_name(resource.name)}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    # A pod reads its configuration when it starts: another one means another pod.
    digest = hashlib.sha256(written.encode()).hexdigest()
    return {
        "replicas": 1,
        "revisionHistoryLimit": 2,
        # Two monitors on one log would count twice.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {
                "labels": {**labels, "app.kubernetes.io/part-of": "noria"},
                "annotations": {"noria.dev/config-digest": digest},
            },
            "spec": pod,
        },
    }


def _hosts(resource: Resource, settings: Settings) -> list[str]:
    """Return the names that a monitor is called by: its Service's, and those that were set."""
    name, namespace = monitor_name(resource.name), resource.namespace
    service = f"{name}.{namespace}.svc"
    url = urlsplit(settings.monitor_of(resource.name, namespace)).hostname or service
    names = (name, f"{name}.{namespace}", service, f"{service}.cluster.local", url)
    return list(dict.fromkeys((*names, *settings.monitor_allowed_hosts)))


def _container(resource: Resource, settings: Settings) -> dict[str, Any]:
    return {
        "name": "monitor",
        "image": settings.monitoring_image,
        **({"imagePullPolicy": settings.image_pull_policy} if settings.image_pull_policy else {}),
        "command": ["python", "-m", "monitoring"],
        "args": [
            *("--config", f"{_CONFIG}/monitor.json"),
            *("--state", _STATE),
            *("--host", "0.0.0.0"),  # noqa: S104 - inside a pod; a NetworkPolicy says who may come
            *("--port", str(MONITOR_PORT)),
            *(part for name in _hosts(resource, settings) for part in ("--allowed-host", name)),
        ],
        "env": [
            {"name": "NORIA_NAMESPACE", "value": resource.namespace},
            {"name": "OMP_NUM_THREADS", "value": "1"},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own emptyDir
            {"name": "NUMBA_CACHE_DIR", "value": "/tmp/numba"},  # noqa: S108 - the same
        ],
        "ports": [{"name": "http", "containerPort": MONITOR_PORT, "protocol": "TCP"}],
        # Reading a long log again takes its time.
        "startupProbe": {**_ANSWERS, "periodSeconds": 2, "failureThreshold": 150},
        "readinessProbe": {**_ANSWERS, "periodSeconds": 5, "timeoutSeconds": 5},
        # A full disk makes it unhealthy, and no restart mends that: only one whose threads are
        # stuck is restarted.
        "livenessProbe": {
            **_ANSWERS,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "resources": {
            "requests": {"cpu": "100m", "memory": "512Mi"},
            "limits": {"memory": "2Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
            {"name": "state", "mountPath": _STATE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        ],
    }
