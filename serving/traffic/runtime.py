"""What KServe has to know about Noria: the server's runtime and the ``models:/`` initializer.

Both are objects of the cluster, made once by whoever installs Noria; the chart and the
kustomize base hold the same. What differs between versions is not here: the predictor of
an InferenceService adds its arguments to the runtime's (KServe concatenates them).

KServe, "Serving Runtimes" and "Storage Containers".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

RUNTIME: Final = "noria-server"
MODEL_FORMAT: Final = "noria"
INITIALIZER: Final = "noria-models"
SCHEME: Final = "models:/"
PACKAGE: Final = "/mnt/models"
HTTP_PORT: Final = 8080
GRPC_PORT: Final = 9000
USER: Final = 65532

CONTAINER_SECURITY: Final[Mapping[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsGroup": USER,
    "runAsNonRoot": True,
    "runAsUser": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the ``restricted`` Pod Security Standard asks for, and a file system that stays as it is."""


def serving_runtime(
    image: str,
    *,
    name: str = RUNTIME,
    namespace: str | None = None,
    labels: Mapping[str, str] | None = None,
    pull_secrets: Sequence[str] = (),
    pull_policy: str = "",
) -> dict[str, Any]:
    """Return the runtime: a ServingRuntime of one namespace, or with None one of the cluster.

    Only the HTTP port is declared: Knative refuses a second one. Predictors that speak
    gRPC in Standard mode add its port themselves.
    """
    spec: dict[str, Any] = {
        "annotations": {
            "prometheus.kserve.io/path": "/metrics",
            "prometheus.kserve.io/port": str(HTTP_PORT),
        },
        "containers": [
            {
                "name": "kserve-container",
                "image": image,
                **_pulled(pull_policy),
                "command": ["python", "-m", "serving"],
                "args": [
                    f"--package={PACKAGE}",
                    "--host=0.0.0.0",
                    f"--port={HTTP_PORT}",
                    # Endpoints lose a terminating pod a moment after it is told to stop.
                    "--drain-delay=5",
                    "--drain-timeout=30",
                ],
                "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - an emptyDir of the pod
                "ports": [http_port()],
                "livenessProbe": {
                    "httpGet": {"path": "/v2/health/live", "port": HTTP_PORT},
                    "periodSeconds": 10,
                    "timeoutSeconds": 5,
                    "failureThreshold": 6,
                },
                "readinessProbe": {
                    "httpGet": {"path": "/v2/health/ready", "port": HTTP_PORT},
                    "periodSeconds": 5,
                    "timeoutSeconds": 3,
                    "failureThreshold": 2,
                },
                "resources": {
                    "limits": {"cpu": "1", "memory": "1Gi"},
                    "requests": {"cpu": "1", "memory": "1Gi"},
                },
                "securityContext": dict(CONTAINER_SECURITY),
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
            }
        ],
        "protocolVersions": ["v1", "v2", "grpc-v2"],
        "supportedModelFormats": [{"name": MODEL_FORMAT, "version": "1", "autoSelect": False}],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in pull_secrets]
    metadata: dict[str, Any] = {"name": name, "labels": dict(labels or {})}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime" if namespace is not None else "ClusterServingRuntime",
        "metadata": metadata,
        "spec": spec,
    }


def cluster_storage_container(
    image: str,
    mlflow_uri: str,
    secret: str = "",
    *,
    name: str = INITIALIZER,
    labels: Mapping[str, str] | None = None,
    pull_policy: str = "",
) -> dict[str, Any]:
    """Return the initializer of ``models:/NAME/VERSION``.

    Args:
        image: The operator's image, which holds ``noria.registry`` and MLflow's client.
        mlflow_uri: The tracking server's URL as pods see it.
        secret: Name of a Secret whose keys become the initializer's environment (MLflow's
            user and password, the artifact store's keys). It has to exist in each namespace
            that serves; empty: none. Secrets are named here and never held.
        name: The object's name.
        labels: The object's labels.
        pull_policy: When a node pulls the image again; empty: as Kubernetes does.
    """
    container: dict[str, Any] = {
        "name": "storage-initializer",
        "image": image,
        **_pulled(pull_policy),
        # KServe appends the two arguments: the URI and the folder.
        "command": ["python", "-m", "noria.registry.initializer"],
        "env": [
            {"name": "MLFLOW_TRACKING_URI", "value": mlflow_uri},
            # The root file system can't be written: what is temporary is beside the package.
            {"name": "HOME", "value": PACKAGE},
        ],
        "resources": {
            "limits": {"cpu": "1", "memory": "1Gi"},
            "requests": {"cpu": "100m", "memory": "256Mi"},
        },
        "securityContext": dict(CONTAINER_SECURITY),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if secret:
        container["envFrom"] = [{"secretRef": {"name": secret}}]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterStorageContainer",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {
            "container": container,
            "supportedUriFormats": [{"prefix": SCHEME}],
            "workloadType": "initContainer",
        },
    }


def http_port() -> dict[str, Any]:
    """Return the container's HTTP port; the first one is what a Service's port 80 leads to."""
    return {"containerPort": HTTP_PORT, "name": "http1", "protocol": "TCP"}


def grpc_port() -> dict[str, Any]:
    """Return the container's gRPC port; its name tells KServe and gateways that it is HTTP/2."""
    return {"containerPort": GRPC_PORT, "name": "h2c-grpc", "protocol": "TCP"}


def _pulled(policy: str) -> dict[str, str]:
    return {"imagePullPolicy": policy} if policy else {}
