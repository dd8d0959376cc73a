"""KServe's real controller beside a control plane, with the CRDs that Noria meets.

Everything of others (CRDs, webhooks, the default configuration) is read from the
Go module cache at the versions that `tests/cluster/kserve/go.mod` and
`tests/cluster/crds/go.mod` pin, so none of it is copied into this repository.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from noria.errors import Unavailable
from tests.cluster.controlplane import build, pki
from tests.cluster.controlplane.plane import ControlPlane
from tests.cluster.controlplane.process import free_ports

NAMESPACE: Final = "kserve"
GATEWAY: Final = "kserve-ingress-gateway"
DOMAIN: Final = "models.test"
_CRDS: Final = build.HERE.parent / "crds"
_KSERVE: Final = "github.com/kserve/kserve"
_FILES: Final = {
    "sigs.k8s.io/gateway-api": (
        "config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml",
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        "config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "github.com/kubeflow/trainer/v2": (
        "manifests/base/crds/trainer.kubeflow.org_clustertrainingruntimes.yaml",
        "manifests/base/crds/trainer.kubeflow.org_trainingruntimes.yaml",
        "manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml",
    ),
}
_START: Final = 60.0
_WEBHOOKS: Final = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def install_crds(plane: ControlPlane) -> None:
    """Install the CRDs of KServe, Gateway API, prometheus-operator and Kubeflow Trainer.

    Raises:
        Unavailable: a module can't be had.
        ClusterError: the API server refused one.
    """
    files = [
        build.module_folder(_CRDS, module) / file
        for module, names in _FILES.items()
        for file in names
    ]
    ours = build.module_folder(build.KSERVE.module, _KSERVE) / "config" / "crd" / "full"
    files += sorted(ours.glob("*.kserve.io_*.yaml"))
    files += sorted((ours / "clusterstoragecontainer").glob("*.kserve.io_*.yaml"))
    # Server-side: the InferenceService CRD is too large for kubectl's annotation.
    plane.kubectl("apply", "--server-side", *(f"--filename={file}" for file in files))
    # Not `kubectl wait`: it fails on a CRD so new that it has no conditions at all.
    ends = time.monotonic() + _START
    with plane.access.client() as client:
        while missing := _not_established(client):
            if time.monotonic() > ends:
                raise Unavailable(f"CRDs not established after {_START} s: {', '.join(missing)}")
            time.sleep(0.2)


@contextlib.contextmanager
def start(plane: ControlPlane) -> Iterator[None]:
    """Run KServe's controller in Standard mode with Gateway API until the ``with`` ends.

    Raises:
        Unavailable: it could not be built, or did not start.
        ClusterError: the API server refused its configuration.
    """
    program = build.programs(build.KSERVE)["kserve-manager"]
    began = time.monotonic()
    install_crds(plane)
    source = build.module_folder(build.KSERVE.module, _KSERVE)
    webhook_port, health_port = free_ports(2)
    # controller-runtime looks for its certificate in this folder below TMPDIR.
    temporary = plane.folder / "kserve"
    certificates = temporary / "k8s-webhook-server" / "serving-certs"
    authority = pki.Authority(certificates, "kserve-webhooks")
    pair = authority.issue("tls", ["127.0.0.1"])
    assert pair.certificate.name == "tls.crt"
    _apply(plane, [_namespace(), _configuration(source), *_gateway()])
    controller = plane.child(
        "kserve-manager",
        program,
        f"--webhook-port={webhook_port}",
        f"--health-probe-addr=127.0.0.1:{health_port}",
        "--metrics-addr=0",
        KUBECONFIG=str(plane.kubeconfig),
        POD_NAMESPACE=NAMESPACE,
        TMPDIR=str(temporary),
    )
    controller.start()
    try:
        controller.wait(lambda: _answers(f"http://127.0.0.1:{health_port}/readyz"), _START)
        # After it listens: a webhook of nobody would refuse every pod.
        _apply(plane, _webhooks(source, webhook_port, authority.certificate))
        print(f"KServe: ready in {time.monotonic() - began:.1f} s", file=sys.stderr)
        yield
    finally:
        controller.kill()


def _not_established(client: httpx.Client) -> list[str]:
    crds = client.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").json()["items"]
    return [each["metadata"]["name"] for each in crds if not _established(each)]


def _established(crd: dict[str, Any]) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _apply(plane: ControlPlane, documents: list[dict[str, Any]]) -> None:
    plane.kubectl("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump_all(documents))


def _namespace() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def _configuration(source: Path) -> dict[str, Any]:
    """Return KServe's own default configuration with the mode and the gateway of the tests."""
    text = (source / "config" / "configmap" / "inferenceservice.yaml").read_text()
    document: dict[str, Any] = yaml.safe_load(text)
    data: dict[str, str] = document["data"]
    ingress = json.loads(data["ingress"]) | {
        "enableGatewayApi": True,
        "kserveIngressGateway": f"{NAMESPACE}/{GATEWAY}",
        "disableIstioVirtualHost": True,
        "ingressDomain": DOMAIN,
    }
    data["ingress"] = json.dumps(ingress)
    data["deploy"] = json.dumps({"defaultDeploymentMode": "Standard"})
    document["metadata"]["namespace"] = NAMESPACE
    return document


def _gateway() -> list[dict[str, Any]]:
    version = "gateway.networking.k8s.io/v1"
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": 80,
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    return [
        {
            "apiVersion": version,
            "kind": "GatewayClass",
            "metadata": {"name": "stand-in"},
            "spec": {"controllerName": "noria.dev/stand-in"},
        },
        {
            "apiVersion": version,
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
            "spec": {"gatewayClassName": "stand-in", "listeners": [listener]},
        },
    ]


def _webhooks(source: Path, port: int, ca: Path) -> list[dict[str, Any]]:
    """Return KServe's webhooks, reached by URL: the API server is on no cluster network."""
    text = (source / "config" / "webhook" / "manifests.yaml").read_text()
    bundle = base64.b64encode(ca.read_bytes()).decode()
    documents = [each for each in yaml.safe_load_all(text) if each and each["kind"] in _WEBHOOKS]
    for document in documents:
        document["metadata"].pop("creationTimestamp", None)
        for hook in document["webhooks"]:
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": bundle}
    return documents
