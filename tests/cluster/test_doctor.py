"""``noria doctor`` on the real API server: a cluster with everything, and one with nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from noria.doctor.checks import CHECKS, diagnose
from noria.doctor.cluster import Cluster as Patient
from noria.doctor.cluster import Expected
from noria.doctor.finding import Finding, Level, healthy
from noria.kube import KubeClient
from noria.kube.kinds import (
    CRD,
    DEPLOYMENT,
    GATEWAY,
    INFERENCE_SERVICE,
    MODEL,
    NODE,
    SERVICE_ACCOUNT,
    SERVING_RUNTIME,
    STORAGE_CLASS,
)
from noria.spec.schema import crd
from tests.cluster import serving_world as sw
from tests.cluster.controlplane.cluster import Cluster
from tests.cluster.controlplane.plane import ControlPlane


@pytest.fixture
def client(cluster: Cluster) -> KubeClient:
    return sw.connect(cluster.kubeconfig)


_CONTROLLER = "kserve-controller-manager"
_CODES = {"/apis/v2beta1/healthz": 200, "/health": 200, "/-/ready": 200, "/locked/health": 401}


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(_CODES.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def services() -> Iterator[str]:
    """A server that says of each service that it is well."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def complete(client: KubeClient, namespace: str) -> Iterator[str]:
    """A namespace of a cluster where nothing is missing."""
    client.apply(CRD, crd(), None)
    sw.until(lambda: client.has_kind(MODEL), bool, "the Model resource")
    sw.install(client, namespace)
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    body = {
        "metadata": {"name": "noria-test-default", "annotations": annotations},
        "provisioner": "example.test/none",
    }
    client.apply(STORAGE_CLASS, body, None)
    node = {
        "metadata": {"name": "gpu-test", "labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
        "spec": {"unschedulable": True},
    }
    client.apply(NODE, node, None)
    offered = {"cpu": "8", "memory": "32Gi", "pods": "10", "nvidia.com/gpu": "2"}
    client.patch_status(NODE, "gpu-test", None, {"capacity": offered, "allocatable": offered})
    controller = _controller()
    client.apply(DEPLOYMENT, controller, "kserve")
    sw.until(
        lambda: client.get(DEPLOYMENT, _CONTROLLER, "kserve"),
        lambda found: bool(found and found.get("status", {}).get("availableReplicas")),
        "KServe's controller",
    )
    yield namespace
    client.delete(DEPLOYMENT, _CONTROLLER, "kserve")
    client.delete(NODE, "gpu-test", None)
    client.delete(STORAGE_CLASS, "noria-test-default", None)


def _controller() -> dict[str, Any]:
    """KServe's Deployment by its label; what runs in it is nobody's concern here."""
    labels = {"control-plane": _CONTROLLER}
    pod = {"containers": [{"name": "manager", "image": "kserve/kserve-controller:v0.20.0"}]}
    return {
        "metadata": {"name": _CONTROLLER, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def expected(namespace: str, services: str, **given: str) -> Expected:
    told = {"kfp_host": services, "mlflow_uri": services, "prometheus_url": services}
    return Expected(namespace=namespace, **{**told, **given})


def said(client: KubeClient, told: Expected) -> dict[str, Finding]:
    findings = diagnose(Patient(client, told))
    assert [finding.name for finding in findings] == list(CHECKS)
    return {finding.name: finding for finding in findings}


def test_a_complete_cluster_is_well(client: KubeClient, complete: str, services: str) -> None:
    found = said(client, expected(complete, services))
    assert healthy(tuple(found.values()))
    assert [f for f in found.values() if f.level is not Level.OK] == []
    assert found["KServe"].found.endswith("with spec.canary, default mode Standard")
    assert found["Traffic split"].found.startswith("routes: ")
    assert found["Gateway API"].found == "gateway kserve/kserve-ingress-gateway"
    assert found["models:/ for KServe"].found == "ClusterStorageContainer noria-models"
    assert found["Model server"].found == f"ServingRuntime noria-server, image {sw.IMAGE}"
    assert found["GPUs"].found == "2 x NVIDIA-L4"
    assert found["Storage"].found == "default StorageClass noria-test-default"
    assert found["Your rights"].found == f"you may create Models in {complete}"


def test_a_kserve_whose_controller_is_not_there_is_a_warning(
    client: KubeClient, complete: str, services: str
) -> None:
    client.delete(DEPLOYMENT, _CONTROLLER, "kserve")
    found = sw.until(
        lambda: said(client, expected(complete, services))["KServe"],
        lambda finding: finding.level is Level.WARN,
        "the warning",
    )
    assert "no controller that is available" in found.found
    assert "-l control-plane=kserve-controller-manager" in found.fix


def test_what_is_missing_is_named_with_its_fix(
    client: KubeClient, complete: str, services: str
) -> None:
    client.delete(SERVING_RUNTIME, "noria-server", complete)
    client.patch_status(NODE, "gpu-test", None, {"allocatable": {"nvidia.com/gpu": None}})
    told = expected(
        complete,
        services,
        kfp_host=f"{services}/nowhere",
        mlflow_uri=f"{services}/locked",
        prometheus_url="http://127.0.0.1:9",
        gateway="kserve/another",
        storage_class="fast",
        traffic="knative",
    )
    found = said(client, told)
    levels = {name: finding.level for name, finding in found.items()}
    assert levels["Model server"] is Level.MISSING
    assert levels["GPUs"] is Level.WARN
    assert levels["Kubeflow Pipelines"] is Level.MISSING
    assert "answers 404" in found["Kubeflow Pipelines"].found
    assert levels["MLflow"] is Level.WARN
    assert "token" in found["MLflow"].found
    assert levels["Prometheus"] is Level.MISSING
    assert levels["Gateway API"] is Level.MISSING
    assert "no gateway kserve/another" in found["Gateway API"].found
    assert levels["Storage"] is Level.MISSING
    assert levels["Traffic split"] is Level.MISSING
    assert "Knative" in found["Traffic split"].found
    assert all(f.fix for f in found.values() if f.level is not Level.OK)


def test_who_may_not_look_is_told_so(
    client: KubeClient, cluster: Cluster, complete: str, services: str
) -> None:
    client.apply(SERVICE_ACCOUNT, {"metadata": {"name": "nobody"}}, complete)
    poor = sw.connect(cluster.kubeconfig_for("nobody", complete))
    found = said(poor, expected(complete, services))
    assert found["Your rights"].level is Level.MISSING
    assert found["GPUs"].level is Level.WARN
    assert "not looked at" in found["GPUs"].found
    assert "nodes" in found["GPUs"].found
    assert "configuration can't be read" in found["KServe"].found


def test_a_gateway_that_is_not_programmed_is_a_warning(
    client: KubeClient, complete: str, services: str
) -> None:
    body = {
        "metadata": {"name": "asleep"},
        "spec": {
            "gatewayClassName": "nobody",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        },
    }
    client.apply(GATEWAY, body, complete)
    condition = {
        "type": "Programmed",
        "status": "False",
        "reason": "Pending",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    client.patch_status(GATEWAY, "asleep", complete, {"conditions": [condition]})
    found = said(client, expected(complete, services, gateway=f"{complete}/asleep"))
    assert found["Gateway API"].level is Level.WARN


def test_the_command_prints_a_line_for_each_and_ends_with_0(
    cluster: Cluster, complete: str, services: str
) -> None:
    ended = _run(cluster.kubeconfig, "-n", complete, *_told(services))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("Noria on https://127.0.0.1:")
    assert [line.split("  ")[1].strip() for line in lines[2:-2]] == list(CHECKS)
    assert lines[-1] == f"{len(CHECKS)} ok, 0 warnings, 0 missing"


def test_the_command_as_json(cluster: Cluster, complete: str, services: str) -> None:
    ended = _run(
        cluster.kubeconfig, "-n", complete, "--json", *_told(services), "--storage-class=x"
    )
    assert ended.returncode == 1
    report = json.loads(ended.stdout)
    assert report["healthy"] is False
    (bad,) = [each for each in report["findings"] if each["level"] == "missing"]
    assert bad["name"] == "Storage"
    assert bad["fix"]


def test_an_empty_cluster_lacks_it_all(tmp_path: Path) -> None:
    with ControlPlane.start(tmp_path / "plane") as plane:
        client = sw.connect(plane.kubeconfig)
        found = {f.name: f for f in diagnose(Patient(client, Expected()))}
        ended = _run(plane.kubeconfig)
    missing = {name for name, f in found.items() if f.level is Level.MISSING}
    assert missing >= {
        "Model resource",
        "KServe",
        "Traffic split",
        "Gateway API",
        "models:/ for KServe",
        "Model server",
        "Storage",
    }
    assert found["Kubernetes API"].level is Level.OK
    assert INFERENCE_SERVICE.kind in found["KServe"].found
    assert ended.returncode == 1
    assert "fix: install KServe" in ended.stdout


def test_without_a_cluster_it_says_so_once(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "gone",
                "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "me"}}],
                "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:9"}}],
                "users": [{"name": "me", "user": {}}],
            }
        )
    )
    ended = _run(kubeconfig)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: no Kubernetes cluster answers: ")
    assert "kubectl cluster-info" in line


def _told(services: str) -> list[str]:
    return [f"--{name}={services}" for name in ("kfp-host", "mlflow-uri", "prometheus-url")]


def _run(kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: v for name, v in os.environ.items() if not name.startswith(("NORIA_", "KUBE"))}
    return subprocess.run(
        [sys.executable, "-m", "noria.cli", "doctor", f"--kubeconfig={kubeconfig}", *arguments],
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
