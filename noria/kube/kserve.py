"""What a cluster's KServe can do, and which way of splitting traffic follows from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from noria.errors import Denied, InvalidInput, TrafficError
from noria.kube.client import KubeClient
from noria.kube.kinds import (
    CONFIG_MAP,
    CRD,
    DEPLOYMENT,
    GATEWAY,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    KNATIVE_SERVICE,
    Kind,
)

T = TypeVar("T")
Way = Literal["standard", "routes", "knative"]
WAYS: Final[tuple[Way, ...]] = ("standard", "routes", "knative")
NATIVE_SINCE: Final = (0, 21)
"""The first KServe whose routes follow ``spec.canary``."""

_CONFIG: Final = "inferenceservice-config"
_CONTROLLER: Final = {"control-plane": "kserve-controller-manager"}
_STANDARD: Final = ("Standard", "RawDeployment")
_KNATIVE: Final = ("Knative", "Serverless")
_CLUSTER_DOMAIN: Final = "svc.cluster.local"
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class KServe:
    """What is known of KServe. Empty text, None: it could not be read.

    ``controller`` is whether a Deployment of its controller has a pod that is available.
    """

    installed: bool
    controller: bool | None = None
    canary_field: bool = False
    version: str = ""
    namespace: str = ""
    mode: str = ""
    gateway_api: bool | None = None
    gateway: str = ""
    domain: str = ""
    template: str = ""
    routes_served: bool = False
    gateways: tuple[str, ...] = ()
    knative: bool = False

    @property
    def number(self) -> tuple[int, int] | None:
        """The version as numbers, None when it can't be told."""
        found = _VERSION.match(self.version)
        return (int(found[1]), int(found[2])) if found else None

    def hostname(self, name: str, namespace: str) -> str:
        """Return the host name that KServe gives a service of that name; empty: not known."""
        if not self.domain or self.domain == _CLUSTER_DOMAIN:
            return ""
        values = {"Name": name, "Namespace": namespace, "IngressDomain": self.domain}
        pattern = re.compile(r"{{\s*\.(\w+)\s*}}")
        template = self.template or "{{ .Name }}-{{ .Namespace }}.{{ .IngressDomain }}"
        made = pattern.sub(lambda found: values.get(found[1], "{{"), template)
        # Whatever else the template asks for is not ours to guess.
        return "" if "{{" in made else made


@dataclass(frozen=True, slots=True)
class Choice:
    """Which way traffic is split, through which gateway (``namespace/name``), and why."""

    way: Way
    why: str
    gateway: str = ""


def read_kserve(client: KubeClient) -> KServe:
    """Read what this identity may read of KServe, the Gateway API and Knative.

    Raises:
        Unavailable: The API server does not answer.
    """
    if not client.has_kind(INFERENCE_SERVICE):
        return KServe(installed=False)
    name = f"{INFERENCE_SERVICE.plural}.{INFERENCE_SERVICE.group}"
    crd = _may(client, "get", CRD, None, lambda: client.get(CRD, name, None))
    controllers = _may(
        client,
        "list",
        DEPLOYMENT,
        None,
        lambda: client.list(DEPLOYMENT, None, labels=_CONTROLLER),
    )
    controller = controllers[0] if controllers else {}
    namespace = controller.get("metadata", {}).get("namespace", "kserve")
    config = (
        _may(
            client,
            "get",
            CONFIG_MAP,
            namespace,
            lambda: client.get(CONFIG_MAP, _CONFIG, namespace),
        )
        or {}
    )
    ingress = _section(config, "ingress")
    routes = client.has_kind(HTTP_ROUTE)
    gateways = (
        _may(client, "list", GATEWAY, None, lambda: client.list(GATEWAY, None)) if routes else None
    )
    gateway_api = ingress.get("enableGatewayApi")
    return KServe(
        installed=True,
        controller=None if controllers is None else any(map(_is_available, controllers)),
        canary_field=_has_canary(crd),
        version=_version(controller, crd),
        namespace=namespace if config or controller else "",
        mode=str(_section(config, "deploy").get("defaultDeploymentMode", "")),
        gateway_api=gateway_api if isinstance(gateway_api, bool) else None,
        gateway=str(ingress.get("kserveIngressGateway", "")),
        domain=str(ingress.get("ingressDomain", "")),
        template=str(ingress.get("domainTemplate", "")),
        routes_served=routes,
        gateways=tuple(
            f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in gateways or ()
        ),
        knative=client.has_kind(KNATIVE_SERVICE),
    )


def _is_available(deployment: Mapping[str, Any]) -> bool:
    return int(deployment.get("status", {}).get("availableReplicas", 0)) > 0


def choose(kserve: KServe, wanted: str = "auto", gateway: str = "") -> Choice:
    """Choose how traffic is split: by what the cluster has, or as ``wanted`` says.

    ``gateway`` is the installation's own (``namespace/name``); empty: KServe's, or the only
    one that there is.

    Raises:
        InvalidInput: ``wanted`` is none of auto, standard, routes, knative.
        TrafficError: The cluster lacks something; the message names it and the way to get it.
    """
    if wanted not in ("auto", *WAYS):
        raise InvalidInput(
            f"NORIA_TRAFFIC: {wanted!r} is no way to split traffic",
            fix=f"use auto, {', '.join(WAYS)}",
        )
    if not kserve.installed:
        raise TrafficError(
            "the cluster has no InferenceServices: KServe is not installed",
            fix="install KServe 0.15 or later (0.21 for its own canary) and the Gateway API",
        )
    way = wanted if wanted != "auto" else _by_capability(kserve)
    if way == "knative":
        if not kserve.knative:
            raise TrafficError(
                "Knative mode was asked for, and the cluster has no Knative Services",
                fix="install Knative Serving, or use NORIA_TRAFFIC=auto",
            )
        return Choice("knative", _why(wanted, "KServe's default mode is Knative"))
    if not kserve.routes_served:
        raise TrafficError(
            "the cluster has no HTTPRoutes: the Gateway API is not installed",
            fix="install its CRDs and a gateway, and set ingress.enableGatewayApi of KServe",
        )
    if way == "standard":
        if not kserve.canary_field:
            raise TrafficError(
                f"KServe {kserve.version or 'here'} has no spec.canary",
                fix="upgrade KServe to 0.21 or later, or use NORIA_TRAFFIC=routes",
            )
        said = _why(wanted, f"KServe {kserve.version} splits traffic by spec.canary")
        return Choice("standard", said, kserve.gateway)
    found = gateway or _gateway(kserve)
    if not found:
        there = ", ".join(kserve.gateways) or "none"
        raise TrafficError(
            f"no gateway is named, and the cluster has not exactly one (it has: {there})",
            fix="create a Gateway, or name it: NORIA_GATEWAY=namespace/name",
        )
    version = kserve.version or "of an unknown version"
    said = f"KServe {version} leads no traffic to spec.canary, so Noria has a route of its own"
    return Choice("routes", _why(wanted, said), found)


def _by_capability(kserve: KServe) -> Way:
    if kserve.knative and (
        kserve.mode in _KNATIVE or (not kserve.mode and not kserve.routes_served)
    ):
        return "knative"
    new = kserve.number is not None and kserve.number >= NATIVE_SINCE
    # KServe makes no route in a domain of the cluster's own, and an Ingress has no weights.
    routed = kserve.gateway_api is True and kserve.domain != _CLUSTER_DOMAIN
    return "standard" if new and routed and kserve.canary_field else "routes"


def _gateway(kserve: KServe) -> str:
    if kserve.gateway and kserve.gateway in kserve.gateways:
        return kserve.gateway
    return kserve.gateways[0] if len(kserve.gateways) == 1 else ""


def _why(wanted: str, found: str) -> str:
    return found if wanted == "auto" else f"NORIA_TRAFFIC={wanted} asks for it"


def _has_canary(crd: Mapping[str, Any] | None) -> bool:
    versions = (crd or {}).get("spec", {}).get("versions", ())
    for served in versions:
        if served.get("name") == INFERENCE_SERVICE.version:
            schema = served.get("schema", {}).get("openAPIV3Schema", {})
            return "canary" in schema.get("properties", {}).get("spec", {}).get("properties", {})
    return False


def _version(controller: Mapping[str, Any], crd: Mapping[str, Any] | None) -> str:
    """Return what the controller's image or the installation's labels say; empty: nothing does."""
    containers = (
        controller.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ())
    )
    said = [
        container.get("image", "").partition("@")[0].rpartition(":")[2]
        for container in containers
        if container.get("name") == "manager"
    ]
    for found in (controller, crd or {}):
        labels = found.get("metadata", {}).get("labels", {})
        said.append(labels.get("app.kubernetes.io/version", ""))
    return next((text.removeprefix("v") for text in said if _VERSION.match(text)), "")


def _section(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    try:
        value = json.loads((config.get("data") or {}).get(key, "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _may(
    client: KubeClient, verb: str, kind: Kind, namespace: str | None, read: Callable[[], T]
) -> T | None:
    """Read; None when this identity may not. It is asked first: a denied call is an alarm."""
    try:
        return read() if client.allowed(verb, kind, namespace) else None
    except Denied:
        return None
