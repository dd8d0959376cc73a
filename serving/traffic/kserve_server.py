"""The server in a predictor: Noria's, a runtime that KServe knows, or an image of the project's.

Each is what its version's package is served by. KServe's init container brings the package, and
checks its digest, for all of them: by ``storageUri``, or for an image by ``STORAGE_URI``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from noria.cloudevents import VERSION_ANNOTATION
from noria.spec.runtime import Runtime
from serving.traffic.runtime import CONTAINER_SECURITY, http_port

IMPLEMENTATIONS: Final = ("model", "containers", "logger")
"""Keys of a predictor that one kind of server has and another has not."""

_GPU: Final = "nvidia.com/gpu"
_STARTS_WITHIN: Final = 1800
_PERIOD: Final = 5


def named(
    runtime: Runtime, uri: str, environment: Mapping[str, str], resources: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a predictor has of a runtime that KServe knows."""
    return {
        "model": {
            # A canary's schema asks for a name, and the stable predictor may have none.
            "name": "",
            "modelFormat": {"name": runtime.format},
            "runtime": runtime.name,
            "protocolVersion": "v1" if runtime.protocol == "v1" else "v2",
            "storageUri": uri,
            # KServe runs its templates over the arguments of a runtime.
            "args": [value.replace("{{", "{{`{{`}}") for value in runtime.args],
            **_variables(runtime, environment),
            "resources": _machine(runtime, resources),
        }
    }


def container(
    runtime: Runtime,
    model: str,
    uri: str,
    environment: Mapping[str, str],
    resources: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a predictor has of an image of the project's."""
    ready = {"httpGet": {"path": runtime.ready_path(model), "port": runtime.port}}
    security = {
        **CONTAINER_SECURITY,
        "readOnlyRootFilesystem": runtime.read_only_root_filesystem,
        "runAsUser": runtime.user,
        "runAsGroup": runtime.user,
    }
    tmp = "/tmp"  # noqa: S108 - an emptyDir of the pod
    made = {
        "name": "kserve-container",
        "image": runtime.image,
        "args": list(runtime.args),
        **_variables(runtime, {"HOME": tmp, **environment, "STORAGE_URI": uri}),
        "ports": [{**http_port(), "containerPort": runtime.port}],
        # Large models take their time; only then does liveness count.
        "startupProbe": {
            **ready,
            "periodSeconds": _PERIOD,
            "timeoutSeconds": 3,
            "failureThreshold": _STARTS_WITHIN // _PERIOD,
        },
        "readinessProbe": {
            **ready,
            "periodSeconds": _PERIOD,
            "timeoutSeconds": 3,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            "tcpSocket": {"port": runtime.port},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        # Endpoints lose a terminating pod a moment after it is told to stop.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": _machine(runtime, resources),
        "securityContext": security,
        "volumeMounts": [{"name": "tmp", "mountPath": tmp}],
    }
    return {"containers": [made], "volumes": [{"name": "tmp", "emptyDir": {}}]}


def logger(sink: str) -> dict[str, Any]:
    """Return KServe's logger: it sends what is asked and answered, with the version, to a URL."""
    return {"logger": {"mode": "all", "url": sink, "metadataAnnotations": [VERSION_ANNOTATION]}}


def _variables(runtime: Runtime, environment: Mapping[str, str]) -> dict[str, Any]:
    values = {**environment, **runtime.env}
    # A variable may name those before it: what Noria says comes first.
    found: dict[str, Any] = {"env": [{"name": name, "value": v} for name, v in values.items()]}
    if runtime.secrets:
        found["envFrom"] = [{"secretRef": {"name": name}} for name in runtime.secrets]
    return found


def _machine(runtime: Runtime, resources: Mapping[str, str]) -> dict[str, Any]:
    wanted = {**resources, **({_GPU: str(runtime.gpus)} if runtime.gpus else {})}
    return {"limits": wanted, "requests": dict(wanted)}
