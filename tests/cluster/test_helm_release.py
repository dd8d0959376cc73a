"""The chart on a real API server: installed, upgraded from the version before, uninstalled."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.doctor.checks import diagnose
from noria.doctor.cluster import Cluster as Looked
from noria.doctor.cluster import Expected
from noria.errors import ClusterError
from noria.kube import KubeClient
from tests.cluster.controlplane.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("nobody_elses")]
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "noria"
PROFILES = sorted((CHART / "ci").glob("*-values.yaml"))
FLIGHTS = ROOT / "examples" / "flights" / "model.yaml"
Helm = Callable[..., str]


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    """A namespace that refuses every pod short of the restricted Pod Security Standard."""
    cluster.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    return namespace


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The chart as the version before might have been.

    No version was ever released, so there is none to keep a copy of. This one is the present
    chart with what upgrades stumble over put back: an older CRD that prints nothing, an object
    that the new version no longer has, and none of the policies.
    """
    chart = tmp_path / "previous"
    shutil.copytree(CHART, chart)
    told = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(
        yaml.safe_dump(told | {"version": "0.1.0", "appVersion": "0.1.0"})
    )
    (chart / "templates" / "networkpolicies.yaml").unlink()
    (chart / "templates" / "old.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: noria-old\n"
        "  namespace: {{ .Release.Namespace }}\n"
    )
    crd = chart / "files" / "crd.yaml"
    definition = yaml.safe_load(crd.read_text())
    (version,) = definition["spec"]["versions"]
    del version["additionalPrinterColumns"]
    crd.write_text(yaml.safe_dump(definition, sort_keys=False))
    return chart


@pytest.fixture
def installed(helm: Helm, restricted: str) -> Iterator[Callable[..., str]]:
    """Install or upgrade the release ``noria``; it is uninstalled at the end."""

    def install(chart: Path, *arguments: str) -> str:
        # Other tests may have applied the CRD already.
        return helm(
            "upgrade", "--install", "noria", str(chart), f"--namespace={restricted}",
            "--take-ownership", "--force-conflicts", *arguments,
        )  # fmt: skip

    yield install
    # Already gone, where the test did it.
    helm("uninstall", "noria", f"--namespace={restricted}", "--ignore-not-found")


def _left(cluster: Cluster, namespace: str) -> set[str]:
    """Return everything of the release in its namespace, and the cluster's of it."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    skipped = {"componentstatuses", "events", "events.events.k8s.io"}
    listed = ",".join(kind for kind in kinds if kind not in skipped)
    found = cluster.kubectl(
        "get", listed, f"--namespace={namespace}", "--ignore-not-found", "--output=name",
        "--selector=app.kubernetes.io/instance=noria,app.kubernetes.io/name=noria",
    )  # fmt: skip
    return set(found.split())


def _printed_by_the_crd(cluster: Cluster) -> list[str]:
    crd = json.loads(cluster.kubectl("get", "crd", "models.noria.dev", "-ojson"))
    columns = crd["spec"]["versions"][0].get("additionalPrinterColumns", [])
    return [column["name"] for column in columns]


def _uid(cluster: Cluster, namespace: str, name: str) -> str:
    found = cluster.kubectl(
        "get", name, f"--namespace={namespace}", "--output=jsonpath={.metadata.uid}"
    )
    assert found
    return found


def test_it_installs_with_pods_that_a_restricted_namespace_takes(
    cluster: Cluster, restricted: str, installed: Any
) -> None:
    notes = installed(CHART)
    assert "Business Source License 1.1" in notes
    assert f"keeps the Models of: {restricted}" in notes
    for name in ("noria-operator", "noria-mlflow"):
        condition = "jsonpath={.status.conditions[?(@.type=='Progressing')].status}=True"
        cluster.kubectl(
            "wait", f"deployment/{name}", f"--namespace={restricted}", f"--for={condition}",
            "--timeout=240s",
        )  # fmt: skip
        selector = f"--selector=app.kubernetes.io/component={name.removeprefix('noria-')}"
        pods = json.loads(
            cluster.kubectl("get", "pods", f"--namespace={restricted}", selector, "-ojson")
        )
        assert pods["items"], f"the namespace took no pod of {name}"


def test_the_operators_account_may_what_it_must_and_reads_no_secret(
    cluster: Cluster, restricted: str, installed: Any
) -> None:
    installed(CHART)
    account = f"--as=system:serviceaccount:{restricted}:noria-operator"

    def may(verb: str, resource: str, namespace: str = restricted) -> bool:
        try:
            said = cluster.kubectl(
                "auth", "can-i", verb, resource, account, f"--namespace={namespace}"
            )
        except ClusterError:
            return False
        return said.strip() == "yes"

    assert may("patch", "models.noria.dev/status")
    assert may("create", "inferenceservices.serving.kserve.io")
    assert may("update", "leases.coordination.k8s.io")
    assert not may("get", "secrets")
    assert not may("create", "pods")
    assert not may("create", "models.noria.dev")
    assert not may("get", "configmaps", "kube-system")


def test_helm_test_leaves_nothing_of_itself(
    cluster: Cluster, restricted: str, installed: Any, helm: Helm
) -> None:
    if cluster.node is None:
        pytest.skip("no stand-in for the nodes: the pod would need the image")
    installed(CHART, "--wait", "--timeout=240s")
    said = helm("test", "noria", f"--namespace={restricted}", "--timeout=240s")
    assert "noria-test" in said
    assert "Succeeded" in said
    selector = "--selector=app.kubernetes.io/component=test"
    kinds = "pods,serviceaccounts,roles,rolebindings,networkpolicies"
    assert not cluster.kubectl("get", kinds, f"--namespace={restricted}", selector, "-oname")
    assert not cluster.kubectl("get", "clusterroles,clusterrolebindings", selector, "-oname")


def test_the_doctor_sees_all_that_it_looks_for_with_the_rights_of_the_test(
    cluster: Cluster, restricted: str, helm: Helm
) -> None:
    rendered = helm(
        "template", "noria", str(CHART), f"--namespace={restricted}",
        "--show-only=templates/tests.yaml",
    )  # fmt: skip
    objects = [found for found in yaml.safe_load_all(rendered) if found and found["kind"] != "Pod"]
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))
    try:
        access = cluster.kubeconfig_for("noria-test", restricted)
        seen = diagnose(Looked(KubeClient.connect(access), Expected(namespace=restricted)))
        assert len(seen) > 10
        denied = [f for f in seen if "not looked at" in f.found and "address" not in f.found]
        assert not denied
        (rights,) = [finding for finding in seen if finding.name == "Your rights"]
        assert rights.level == "ok"
    finally:
        cluster.kubectl(
            "delete", "clusterroles,clusterrolebindings",
            "--selector=app.kubernetes.io/component=test",
        )  # fmt: skip


def test_an_upgrade_keeps_models_and_their_data_and_brings_the_new_columns(
    cluster: Cluster, restricted: str, installed: Any, previous: Path, helm: Helm
) -> None:
    installed(previous)
    assert "Champion" not in _printed_by_the_crd(cluster)
    cluster.kubectl("apply", f"--namespace={restricted}", f"--filename={FLIGHTS}")
    kept = ("nm/flights", "pvc/noria-mlflow", "deployment/noria-operator")
    before = [_uid(cluster, restricted, name) for name in kept]
    cluster.kubectl("get", "configmap", "noria-old", f"--namespace={restricted}")

    installed(CHART)

    assert [_uid(cluster, restricted, name) for name in kept] == before
    assert "Champion" in _printed_by_the_crd(cluster)
    gone = cluster.kubectl(
        "get", "configmap", "noria-old", f"--namespace={restricted}", "--ignore-not-found"
    )
    assert gone == ""
    cluster.kubectl("get", "networkpolicy", "noria-default-deny", f"--namespace={restricted}")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert cluster.kubectl(
        "get", "deployment", "noria-operator", f"--namespace={restricted}", f"--output={image}"
    ).endswith(":0.2.0")
    history = json.loads(helm("history", "noria", f"--namespace={restricted}", "--output=json"))
    assert [entry["chart"] for entry in history] == ["noria-0.1.0", "noria-0.2.0"]


def test_a_rollback_goes_back_and_loses_no_model(
    cluster: Cluster, restricted: str, installed: Any, previous: Path, helm: Helm
) -> None:
    installed(previous)
    installed(CHART)
    cluster.kubectl("apply", f"--namespace={restricted}", f"--filename={FLIGHTS}")
    helm("rollback", "noria", "1", f"--namespace={restricted}", "--force-conflicts")
    cluster.kubectl("get", "configmap", "noria-old", f"--namespace={restricted}")
    _uid(cluster, restricted, "nm/flights")


def test_uninstalling_leaves_the_crd_the_models_and_the_claim_and_nothing_else(
    cluster: Cluster, restricted: str, installed: Any, helm: Helm
) -> None:
    profile = CHART / "ci" / "production-values.yaml"
    installed(
        CHART, f"--values={profile}",
        f"--set=operator.namespaces={{{restricted}}},pipelines.namespace={restricted}",
        "--set=mlflow.database.kind=sqlite,mlflow.database.uriSecret.name=,mlflow.replicas=1",
    )  # fmt: skip
    cluster.kubectl("apply", f"--namespace={restricted}", f"--filename={FLIGHTS}")
    assert len(_left(cluster, restricted)) > 20
    helm("uninstall", "noria", f"--namespace={restricted}", "--cascade=foreground")
    # Helm's own --wait has missed a deletion on a busy machine.
    deadline = time.monotonic() + 240
    while (left := _left(cluster, restricted)) != {"persistentvolumeclaim/noria-mlflow"}:
        assert time.monotonic() < deadline, left
        time.sleep(1)
    _uid(cluster, restricted, "nm/flights")
    cluster.kubectl("get", "crd", "models.noria.dev")


def test_installing_again_takes_up_what_was_kept(
    cluster: Cluster, restricted: str, installed: Any, helm: Helm
) -> None:
    installed(CHART)
    claim = _uid(cluster, restricted, "pvc/noria-mlflow")
    helm("uninstall", "noria", f"--namespace={restricted}", "--wait")
    installed(CHART)
    assert _uid(cluster, restricted, "pvc/noria-mlflow") == claim


@pytest.mark.parametrize("profile", PROFILES, ids=lambda file: file.stem)
def test_the_api_server_takes_every_object_of_every_profile(
    cluster: Cluster, restricted: str, helm: Helm, profile: Path
) -> None:
    # The pod of the test is looked at with its account, which a dry run doesn't make.
    cluster.kubectl("create", "serviceaccount", "noria-test", f"--namespace={restricted}")
    rendered = helm(
        "template", "noria", str(CHART), f"--namespace={restricted}", f"--values={profile}",
        f"--set=operator.namespaces={{{restricted}}},pipelines.namespace={restricted}",
    )  # fmt: skip
    cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict",
        "--filename=-", stdin=rendered,
    )  # fmt: skip
