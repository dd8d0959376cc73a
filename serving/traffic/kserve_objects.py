"""What an InferenceService of Noria looks like, whichever driver makes it.

Nothing here changes while a version serves: KServe copies an InferenceService's labels and
annotations into its pods' template, so a mark that changes would restart every server.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from noria.cloudevents import VERSION_ANNOTATION
from noria.errors import TrafficError
from noria.spec import Model, Runtime
from serving.traffic import kserve_server as server
from serving.traffic.runtime import GRPC_PORT, MODEL_FORMAT, RUNTIME, USER, grpc_port, http_port
from serving.traffic.split import FULL

MODEL_LABEL: Final = "noria.dev/model"
VERSION_LABEL: Final = "noria.dev/version"
VISIBILITY: Final = "networking.kserve.io/visibility"
CLUSTER_LOCAL: Final = "cluster-local"
MONITOR_URL: Final = "http://noria-monitor-{model}.{namespace}.svc:8080"

_MODE: Final = "serving.kserve.io/deploymentMode"
_AUTOSCALER: Final = "serving.kserve.io/autoscalerClass"
_LONGEST_NAME: Final = 63
_VERSION: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version's package: an immutable URI (never an alias), and the digest it must have."""

    uri: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KServeOptions:
    """How one model is served. Sizes are bytes, times seconds.

    ``owner`` is the entry of ``metadata.ownerReferences`` that points at the Model, so
    that what is made for it goes with it. ``sink`` is the monitor's URL; empty: requests
    are not logged. ``gateway`` (``namespace/name``) and ``hostname`` are for the driver
    that makes its own HTTPRoute. ``runtime`` is the KServe runtime of Noria's server; with
    ``server`` another one serves, and KServe's logger tells the sink what is asked of it.
    """

    replicas: int = 1
    cpu: str = "1"
    memory: int = 1 << 30
    grpc: bool = False
    sink: str = ""
    sample: float = 1.0
    redact: tuple[str, ...] = ()
    max_request_bytes: int = 16 << 20
    batch_rows: int = 256
    batch_delay: float = 0.002
    runtime: str = RUNTIME
    server: Runtime | None = None
    service_account: str = "noria-serving"
    pull_secrets: tuple[str, ...] = ()
    owner: Mapping[str, Any] | None = None
    gateway: str = ""
    hostname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Model,
        namespace: str,
        *,
        owner: Mapping[str, Any] | None = None,
        runtime: str = RUNTIME,
        service_account: str = "noria-serving",
        pull_secrets: Sequence[str] = (),
        monitor_url: str = MONITOR_URL,
        gateway: str = "",
        hostname: str = "",
    ) -> KServeOptions:
        """Take what ``spec.serving`` says; the rest is the installation's."""
        serving = model.spec.serving
        own = serving.runtime
        # Only Noria's server speaks gRPC beside REST.
        return cls(
            replicas=serving.replicas,
            cpu=serving.resources.cpu,
            memory=serving.resources.memory,
            grpc="grpc" in serving.protocols and own is None,
            server=own,
            sink=monitor_url.format(model=model.name, namespace=namespace) if monitor_url else "",
            sample=serving.payload_log.sample,
            redact=tuple(serving.payload_log.redact),
            max_request_bytes=serving.max_request_bytes,
            batch_rows=serving.batching.max_rows,
            batch_delay=serving.batching.max_delay.total_seconds(),
            runtime=runtime,
            service_account=service_account,
            pull_secrets=tuple(pull_secrets),
            owner=owner,
            gateway=gateway,
            hostname=hostname,
        )


def predictor_name(version: str) -> str:
    """Return the name of a version's predictor: ``v7``."""
    return f"v{version}"


def version_of(predictor: str) -> str | None:
    """Return the version that a predictor's name says, None for a name that is not ours."""
    return predictor[1:] if predictor.startswith("v") and len(predictor) > 1 else None


def service_name(model: str, version: str) -> str:
    """Return the Deployment's and Service's name of a version, as KServe makes it."""
    return f"{model}-{predictor_name(version)}-predictor"


def replicas_for(percent: int, replicas: int) -> int:
    """Return how many of ``replicas`` servers a share of the traffic needs, at least one."""
    return max(1, math.ceil(replicas * percent / FULL))


def check_name(model: str, version: str) -> None:
    """Refuse what can't be a Service's name, before KServe fails halfway.

    Raises:
        TrafficError: The version has other characters than a DNS label, or it is too long.
    """
    if _VERSION.fullmatch(version) is None:
        raise TrafficError(
            f"{model}: the version {version!r} can't be part of a Service's name",
            fix="registry versions are numbers, or lower-case letters, digits and hyphens",
        )
    name = service_name(model, version)
    if len(name) > _LONGEST_NAME:
        most = _LONGEST_NAME - (len(name) - len(model))
        raise TrafficError(
            f"metadata.name: {model!r} is too long for KServe, which needs the Service {name!r} "
            f"to have at most {_LONGEST_NAME} characters",
            fix=f"use a name of at most {most} characters",
        )


def inference_service(
    name: str,
    model: str,
    namespace: str,
    options: KServeOptions,
    predictor: Mapping[str, Any],
    *,
    mode: str,
) -> dict[str, Any]:
    """Return an InferenceService without a route to it from outside.

    The label says so to KServe. A driver takes it away with the first split; pods keep
    their own, because a change of their labels would restart them.
    """
    annotations = {_MODE: mode}
    if mode == "Standard":
        annotations[_AUTOSCALER] = "none"
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": {
            **options.labels,
            **own_labels(model),
            VISIBILITY: CLUSTER_LOCAL,
        },
        "annotations": annotations,
    }
    if options.owner is not None:
        metadata["ownerReferences"] = [dict(options.owner)]
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": dict(predictor)},
    }


def predictor(
    model: str,
    version: str,
    namespace: str,
    artifact: Artifact,
    options: KServeOptions,
    *,
    replicas: int,
    grpc: bool,
) -> dict[str, Any]:
    """Return the predictor of one version.

    Every predictor of one kind of server sets the same keys: KServe makes a canary by laying
    its predictor over the stable one, and what is left out would be the stable's. Another kind
    is refused there (``check_overlay``).

    Raises:
        TrafficError: The URI is not one of an immutable version.
    """
    check_uri(model, version, artifact)
    own = options.server
    user = USER if own is None else own.user
    made: dict[str, Any] = {
        "minReplicas": replicas,
        "labels": {**own_labels(model), VERSION_LABEL: version, VISIBILITY: CLUSTER_LOCAL},
        "annotations": {VERSION_LABEL: version},
        "serviceAccountName": options.service_account,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "fsGroup": user,
            "runAsNonRoot": True,
            "runAsUser": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if own is None:
        made["model"] = _norias(model, version, namespace, artifact, options, grpc=grpc)
    else:
        made |= _own(own, model, version, namespace, artifact, options)
    if options.pull_secrets:
        made["imagePullSecrets"] = [{"name": secret} for secret in options.pull_secrets]
    return made


def _norias(
    model: str,
    version: str,
    namespace: str,
    artifact: Artifact,
    options: KServeOptions,
    *,
    grpc: bool,
) -> dict[str, Any]:
    resources = {"cpu": options.cpu, "memory": str(options.memory)}
    made: dict[str, Any] = {
        # A canary's schema asks for a name, and the stable predictor may have none.
        "name": "",
        "modelFormat": {"name": MODEL_FORMAT},
        "runtime": options.runtime,
        "protocolVersion": "v2",
        "storageUri": artifact.uri,
        "args": _arguments(model, version, namespace, artifact, options, grpc=grpc),
        "resources": {"limits": dict(resources), "requests": dict(resources)},
    }
    if grpc:
        made["ports"] = [http_port(), grpc_port()]
    return made


def _own(
    own: Runtime,
    model: str,
    version: str,
    namespace: str,
    artifact: Artifact,
    options: KServeOptions,
) -> dict[str, Any]:
    said = {"NORIA_MODEL": model, "NORIA_VERSION": version, "NORIA_NAMESPACE": namespace}
    resources = {"cpu": options.cpu, "memory": str(options.memory)}
    made = (
        server.container(own, model, artifact.uri, said, resources)
        if own.image
        else server.named(own, artifact.uri, said, resources)
    )
    if options.sink and options.sample:
        annotations = {VERSION_LABEL: version, VERSION_ANNOTATION: version}
        made |= {"annotations": annotations, **server.logger(options.sink)}
    return made


def check_overlay(
    model: str, version: str, made: Mapping[str, Any], over: Mapping[str, Any]
) -> None:
    """Refuse to lay a predictor over one of another kind: what it leaves out would stay.

    Raises:
        TrafficError: ``over``, the stable predictor, is served by another kind of server.
    """
    left = [key for key in server.IMPLEMENTATIONS if key in over and key not in made]
    if left:
        raise TrafficError(
            f"{model}: version {version} has no {' and no '.join(left)}, which the version that "
            "serves has, and KServe's canary would keep it",
            fix="put spec.serving.runtime back as it was, or delete the InferenceService "
            f"{model} and let the new version be the first",
        )


def check_uri(model: str, version: str, artifact: Artifact) -> None:
    """Refuse a URI whose content can change under a version that serves.

    Raises:
        TrafficError: It holds an alias, or a stage in place of a version.
    """
    scheme, _, path = artifact.uri.partition(":/")
    if scheme != "models":
        return
    tail = path.rpartition("/")[2]
    if "@" in path or tail != version:
        raise TrafficError(
            f"{model} version {version}: the URI {artifact.uri!r} does not name that version",
            fix=f"use models:/{model}/{version}; what an alias points at changes under the pods",
        )


def _arguments(
    model: str,
    version: str,
    namespace: str,
    artifact: Artifact,
    options: KServeOptions,
    *,
    grpc: bool,
) -> list[str]:
    given = {
        "--name": model,
        "--version": version,
        "--digest": artifact.digest,
        "--grpc-port": str(GRPC_PORT if grpc else -1),
        "--namespace": namespace,
        "--sink": options.sink,
        "--sample": repr(options.sample),
        "--max-request-bytes": str(options.max_request_bytes),
        "--batch-rows": str(options.batch_rows),
        "--batch-delay-ms": repr(options.batch_delay * 1000),
    }
    said = [(name, value) for name, value in given.items() if value]
    said += [("--redact", column) for column in options.redact]
    return [f"{name}={_as_it_is(value)}" for name, value in said]


def _as_it_is(value: str) -> str:
    """Return an argument that the container gets as ``value``.

    KServe runs its Go template over the container, then the kubelet puts variables in:
    ``{{`` and ``$`` are written so that each of them leaves what was meant.
    """
    return value.replace("{{", "{{`{{`}}").replace("$", "$$")


def own_labels(model: str) -> dict[str, str]:
    """Return the labels of everything that is made for a model."""
    return {
        "app.kubernetes.io/managed-by": "noria",
        "app.kubernetes.io/part-of": "noria",
        MODEL_LABEL: model,
    }
