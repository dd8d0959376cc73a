"""The kustomize trees: the base equals the chart, and a real API server takes each overlay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.chart.kustomize import NAMESPACE, base, main, render, without_helm
from tests.cluster.controlplane import build
from tests.cluster.controlplane.cluster import Cluster

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
TREES = ("base", "overlays/local", "overlays/gpu")


@pytest.fixture(scope="session")
def helm_program() -> Path:
    return build.programs(build.HELM)["helm"]


def _by_name(text: str) -> dict[str, dict[str, Any]]:
    objects = [found for found in yaml.safe_load_all(text) if found]
    return {f"{found['kind']}/{found['metadata']['name']}": found for found in objects}


def _build(cluster: Cluster, tree: str) -> dict[str, dict[str, Any]]:
    return _by_name(cluster.kubectl("kustomize", str(MANIFESTS / tree)))


def test_the_base_is_fresh(helm_program: Path) -> None:
    assert main(["--check", f"--helm={helm_program}"]) == 0


def test_the_command_writes_the_base_and_notices_a_stale_one(
    helm_program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in base(render(helm_program)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    arguments = [f"--helm={helm_program}", f"--root={tmp_path}"]
    assert main([*arguments, "--check"]) == 1
    assert "manifests/base/operator.yaml is stale" in capsys.readouterr().err
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0


def test_kustomize_and_helm_make_the_same_objects(cluster: Cluster, helm_program: Path) -> None:
    rendered = _by_name(render(helm_program, ROOT, "--set=tests.enabled=false"))
    wanted = {name: without_helm(found) for name, found in rendered.items()}
    made = _build(cluster, "base")
    assert made.pop(f"Namespace/{NAMESPACE}")["metadata"]["labels"]
    assert made == wanted


def test_the_local_overlay_pulls_nothing(cluster: Cluster) -> None:
    for found in _build(cluster, "overlays/local").values():
        if found["kind"] == "Deployment":
            spec = found["spec"]["template"]["spec"]
            containers = [*spec.get("initContainers", ()), *spec["containers"]]
            assert {c["imagePullPolicy"] for c in containers} == {"Never"}
    (operator,) = _build(cluster, "overlays/local")["Deployment/noria-operator"]["spec"][
        "template"
    ]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in operator["env"]}
    assert environment["NORIA_MONITOR_STORAGE_SIZE"] == "256Mi"
    assert environment["NORIA_MLFLOW_URI"]


def test_the_gpu_overlay_lets_servers_on_the_pool_and_bounds_what_is_taken(
    cluster: Cluster,
) -> None:
    made = _build(cluster, "overlays/gpu")
    (toleration,) = made["ServingRuntime/noria-server"]["spec"]["tolerations"]
    assert toleration["key"] == "nvidia.com/gpu"
    assert made["ResourceQuota/noria-gpus"]["spec"]["hard"] == {"requests.nvidia.com/gpu": "8"}


@pytest.mark.parametrize("tree", TREES)
def test_the_api_server_takes_it_and_takes_it_again(cluster: Cluster, tree: str) -> None:
    if cluster.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "--output=name"):
        pytest.skip(f"the namespace {NAMESPACE} is somebody's: this test would delete it")
    folder = str(MANIFESTS / tree)
    arguments = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "-k", folder)
    try:
        cluster.kubectl(*arguments)
        first = _versions(cluster)
        cluster.kubectl(*arguments)
        assert _versions(cluster) == first
    finally:
        # The CRD stays: other tests use it.
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true")
        cluster.kubectl("delete", "clusterstoragecontainer", "noria-models", "--ignore-not-found")


def _versions(cluster: Cluster) -> dict[str, int]:
    """Return the generation of what has one: applying again changes nothing."""
    listed = cluster.kubectl(
        "get", "deployments,networkpolicies,servingruntimes", f"--namespace={NAMESPACE}", "-ojson"
    )
    return {
        found["metadata"]["name"]: found["metadata"]["generation"]
        for found in json.loads(listed)["items"]
    }
