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
    Permission("", "nodes", ("get", "list"), "GPUs and their labels"),
    Permission("apps", "deployments", ("get", "list"), "which KServe runs, wherever it is"),
    Permission("storage.k8s.io", "storageclasses", ("get", "list"), "the monitors' class"),
    Permission(
        "apiextensions.k8s.io", "customresourcedefinitions", ("get", "list"), "what is installed"
    ),
    Permission(
        "gateway.networking.k8s.io", "gateways", ("get", "list"), "the models' Gateway is there"
    ),
    Permission("serving.kserve.io", "servingruntimes", ("get", "list"), "noria-server is there"),
    Permission(
        "serving.kserve.io", "clusterservingruntimes", ("get", "list"), "noria-server is there"
    ),
    Permission(
        "serving.kserve.io", "clusterstoragecontainers", ("get", "list"), "models:/ is known"
    ),
)
_KSERVE_CONFIGURATION: Final = "inferenceservice-config"

USER: Final = (
    Permission("noria.dev", "models", ("create",), "the doctor asks whether a Model may be made"),
)


def access() -> dict[str, list[dict[str, Any]]]:
    """Return the rules of every Role of the chart, by what it is for."""
    return {
        "operator": rules("operator"),
        "models": rules("models"),
        "webhook": rules("models", WEBHOOK),
        "doctor": [*rules("models", DOCTOR), _one("configmaps", _KSERVE_CONFIGURATION)],
        "user": rules("models", USER),
        "training": [
            *rules("models", TRAINING),
            *(_one(resource, name) for resource, name in LAUNCHER),
        ],
    }


def _one(resource: str, name: str) -> dict[str, Any]:
    """Return the rule to get one object of the core group, by its name."""
    return {"apiGroups": [""], "resources": [resource], "resourceNames": [name], "verbs": ["get"]}
