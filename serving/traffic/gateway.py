"""HTTPRoutes: which split is in force, and not only asked for; and a model's own route.

Gateway API, "HTTPRoute" and "Conditions": a gateway says with ``observedGeneration`` which
generation of the route it has taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from noria.errors import TrafficError
from serving.traffic.kserve_objects import KServeOptions, own_labels
from serving.traffic.runtime import GRPC_PORT
from serving.traffic.split import FULL

_NEEDED: Final = ("Accepted", "ResolvedRefs")
_GRPC_PATH: Final = "/inference.GRPCInferenceService"
_SERVICE_PORT: Final = 80


def taken(route: Mapping[str, Any]) -> bool:
    """Whether every gateway that speaks of this route took its newest generation whole."""
    parents = route.get("status", {}).get("parents") or []
    generation = route.get("metadata", {}).get("generation", 0)
    return bool(parents) and all(_accepted(parent, generation) for parent in parents)


def shares(route: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the percent of each Service; None when rules differ or nothing gets anything."""
    found: dict[str, int] | None = None
    for rule in route.get("spec", {}).get("rules") or []:
        references = rule.get("backendRefs") or []
        if not references:
            continue
        split: dict[str, int] = {}
        for reference in references:
            name = reference["name"]
            split[name] = split.get(name, 0) + reference.get("weight", 1)
        if found is not None and split != found:
            return None
        found = split
    total = sum(found.values()) if found else 0
    if not found or not total:
        return None
    return {name: round(FULL * weight / total) for name, weight in found.items()}


def in_force(route: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the split that gateways have taken; None when that can't be known now."""
    return shares(route) if taken(route) else None


def _accepted(parent: Mapping[str, Any], generation: int) -> bool:
    said = {condition["type"]: condition for condition in parent.get("conditions") or []}
    if "Accepted" not in said:
        return False
    return all(
        said[name].get("status") == "True"
        and said[name].get("observedGeneration", generation) >= generation
        for name in _NEEDED
        if name in said
    )


def route(
    model: str, namespace: str, options: KServeOptions, backends: Mapping[str, int]
) -> dict[str, Any]:
    """Return the HTTPRoute of a model that leads to Services by percent.

    With a host name it takes all that comes to it, over HTTP and gRPC. Without one the host
    is shared, and it takes the model's own paths; gRPC requests all have the same path and
    can't be told apart then.

    Raises:
        TrafficError: There is no host name, and no path that is the model's own.
    """
    gateway_namespace, _, gateway = options.gateway.partition("/")
    rules: list[dict[str, Any]] = []
    if options.hostname:
        if options.grpc:
            rules.append(_rule([("PathPrefix", _GRPC_PATH)], backends, GRPC_PORT))
        rules.append(_rule([("PathPrefix", "/")], backends, _SERVICE_PORT))
    elif options.server is not None and options.server.speaks_openai:
        raise TrafficError(
            f"{model}: {options.server.protocol} has the same paths for every model, and KServe's "
            "configuration gives no host name",
            fix="let KServe's ConfigMap be read, and set ingressDomain in it",
        )
    else:
        paths = (
            ("PathPrefix", f"/v2/models/{model}"),
            ("Exact", f"/v1/models/{model}"),
            ("Exact", f"/v1/models/{model}:predict"),
        )
        rules.append(_rule(paths, backends, _SERVICE_PORT))
    spec: dict[str, Any] = {
        "parentRefs": [
            {
                "group": "gateway.networking.k8s.io",
                "kind": "Gateway",
                "name": gateway,
                "namespace": gateway_namespace,
            }
        ],
        "rules": rules,
    }
    if options.hostname:
        spec["hostnames"] = [options.hostname]
    metadata: dict[str, Any] = {
        "name": model,
        "namespace": namespace,
        "labels": {**options.labels, **own_labels(model)},
    }
    if options.owner is not None:
        metadata["ownerReferences"] = [dict(options.owner)]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": spec,
    }


def _rule(
    paths: Sequence[tuple[str, str]], backends: Mapping[str, int], port: int
) -> dict[str, Any]:
    return {
        "matches": [{"path": {"type": kind, "value": value}} for kind, value in paths],
        "backendRefs": [
            {"group": "", "kind": "Service", "name": name, "port": port, "weight": weight}
            for name, weight in backends.items()
        ],
    }
