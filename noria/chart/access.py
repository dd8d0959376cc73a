"""What the chart's pods other than the operator may do; the operator's own list is its package's.

Nothing is granted by wildcard, and nothing is granted for the whole cluster but the looking
around of ``noria doctor``, for as long as ``helm test`` runs.
"""

from __future__ import annotations

from typing import Any, Final

from noria.operator.rbac import Permission, rules

WEBHOOK: Final = (
    Permission("noria.dev", "models", ("get",), "the Model owns its inbox"),
    Permission(
        "",
        "configmaps",
        ("get", "list", "create", "patch"),
        "puts alerts into a model's inbox, and marks those that are heard again",
    ),
)

TRAINING: Final = (
    Permission(
        "argoproj.io",
        "workflowtaskresults",
        ("create", "patch"),
        "how a step of a pipeline tells Argo what came out",
    ),
    Permission(
        "trainer.kubeflow.org",
        "trainjobs",
        ("get", "create", "delete"),
        "training on several nodes",
    ),
)

# Of these two, Pipelines' launcher reads one object each: where its artifacts are, and the key.
LAUNCHER: Final = (
    ("configmaps", "kfp-launcher"),
    ("secrets", "mlpipeline-minio-artifact"),
)

DOCTOR: Final = (
    Permission("", "namespaces", ("get", "list"), "finds KServe, Kubeflow, Prometheus"),
    Permission("", "nodes", ("get", "list"), "GPU labels and taints"),
    Permission("", "services", ("get", "list"), "finds Pipelines, MLflow, Prometheus"),
    Permission("", "configmaps", ("get", "list"), "KServe's deployment mode"),
    Permission("apps", "deployments", ("get", "list"), "which versions run"),
    Permission("storage.k8s.io", "storageclasses", ("get", "list"), "the default class"),
    Permission(
        "apiextensions.k8s.io", "customresourcedefinitions", ("get", "list"), "what is installed"
    ),
    Permission(
        "gateway.networking.k8s.io", "gateways", ("get", "list"), "the models' Gateway is there"
    ),
    Permission("gateway.networking.k8s.io", "gatewayclasses", ("get", "list"), "who serves it"),
    Permission("serving.kserve.io", "servingruntimes", ("get", "list"), "noria-server is there"),
    Permission(
        "serving.kserve.io", "clusterservingruntimes", ("get", "list"), "noria-server is there"
    ),
    Permission(
        "serving.kserve.io", "clusterstoragecontainers", ("get", "list"), "models:/ is known"
    ),
    Permission("noria.dev", "models", ("get", "list"), "the models' own needs"),
)


def access() -> dict[str, list[dict[str, Any]]]:
    """Return the rules of every Role of the chart, by what it is for."""
    return {
        "operator": rules("operator"),
        "models": rules("models"),
        "webhook": rules("models", WEBHOOK),
        "doctor": rules("models", DOCTOR),
        "training": [
            *rules("models", TRAINING),
            *(
                {"apiGroups": [""], "resources": [kind], "resourceNames": [name], "verbs": ["get"]}
                for kind, name in LAUNCHER
            ),
        ],
    }
