"""What the chart renders: each toggle, each pod's security, each port's policy, each refusal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.errors import InvalidInput
from noria.operator.rbac import rules
from noria.operator.settings import Settings, read_settings
from serving.traffic.runtime import cluster_storage_container, serving_runtime
from tests.cluster.controlplane import build

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "noria"
PROFILES = sorted((CHART / "ci").glob("*-values.yaml"))
NAMESPACE = "noria-system"
PRODUCTION = CHART / "ci" / "production-values.yaml"

Objects = list[dict[str, Any]]


@pytest.fixture(scope="session")
def helm_program() -> Path:
    return build.programs(build.HELM)["helm"]


@pytest.fixture
def helm(helm_program: Path, tmp_path: Path) -> Any:
    def run(*arguments: str) -> str:
        homes = {f"HELM_{name}_HOME": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(helm_program), *arguments],
            env=homes, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise InvalidInput(done.stderr)
        return done.stdout

    return run


@pytest.fixture
def render(helm: Any) -> Any:
    def run(*sets: str, values: Sequence[Path] = ()) -> Objects:
        arguments = [part for file in values for part in ("--values", str(file))]
        arguments += [part for value in sets for part in ("--set", value)]
        text = helm("template", "noria", str(CHART), f"--namespace={NAMESPACE}", *arguments)
        return [found for found in yaml.safe_load_all(text) if found]

    return run


def _names(objects: Objects) -> set[str]:
    return {f"{found['kind']}/{found['metadata']['name']}" for found in objects}


def _pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Yield each pod: whose it is, its spec, its labels."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        if found["kind"] == "Pod":
            yield name, found["spec"], found["metadata"]["labels"]
        elif "template" in found.get("spec", {}):
            template = found["spec"]["template"]
            yield name, template["spec"], template["metadata"]["labels"]


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", ()), *spec["containers"]]


def _operator_environment(objects: Objects) -> dict[str, str]:
    (spec,) = [spec for name, spec, _ in _pods(objects) if name == "Deployment/noria-operator"]
    (container,) = spec["containers"]
    given = {"NORIA_POD_NAMESPACE": NAMESPACE, "NORIA_POD_NAME": "noria-operator-0"}
    return {entry["name"]: entry.get("value", "") for entry in container["env"]} | given


@pytest.mark.parametrize("profile", PROFILES, ids=lambda file: file.stem)
def test_every_pod_meets_the_restricted_standard(render: Any, profile: Path) -> None:
    pods = list(_pods(render(values=[profile])))
    assert pods
    for name, spec, _ in pods:
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all("hostPath" not in volume for volume in spec["volumes"]), name
        assert "automountServiceAccountToken" in spec, name
        for container in _containers(spec):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert {"requests", "limits"} <= set(container["resources"]), name
            assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"]), name


def test_only_pods_that_speak_to_the_api_hold_a_token(render: Any) -> None:
    for name, spec, _ in _pods(render(values=[PRODUCTION])):
        speaks = name.rpartition("/")[2] in ("noria-operator", "noria-webhook", "noria-test")
        assert spec["automountServiceAccountToken"] is speaks, name


@pytest.mark.parametrize("profile", PROFILES, ids=lambda file: file.stem)
def test_nothing_is_granted_by_wildcard(render: Any, profile: Path) -> None:
    for found in render(values=[profile]):
        for rule in found.get("rules", ()) if "rbac" in found["apiVersion"] else ():
            granted = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "*" not in granted, found["metadata"]["name"]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda file: file.stem)
def test_the_whole_cluster_is_only_looked_at_by_the_test(render: Any, profile: Path) -> None:
    for found in render(values=[profile]):
        if found["kind"] == "ClusterRole":
            assert found["metadata"]["annotations"]["helm.sh/hook"] == "test"
            assert all(set(rule["verbs"]) <= {"get", "list"} for rule in found["rules"])


def test_the_operator_gets_its_own_list_in_each_watched_namespace(render: Any) -> None:
    roles = {
        (found["metadata"]["namespace"], found["metadata"]["name"]): found["rules"]
        for found in render(values=[PRODUCTION])
        if found["kind"] == "Role"
    }
    assert roles["team-a", "noria-operator"] == roles["team-b", "noria-operator"] == rules("models")
    assert roles[NAMESPACE, "noria-operator-lease"] == rules("operator")
    assert (NAMESPACE, "noria-operator") not in roles


@pytest.mark.parametrize("profile", PROFILES, ids=lambda file: file.stem)
def test_the_operator_reads_the_settings_that_the_chart_gives(render: Any, profile: Path) -> None:
    settings = read_settings(_operator_environment(render(values=[profile])))
    assert settings.pod_namespace == NAMESPACE
    assert settings.training_service_account == "noria-training"


def test_the_settings_say_what_the_values_say(render: Any) -> None:
    settings = read_settings(_operator_environment(render(values=[PRODUCTION])))
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.kfp_host == "https://pipelines.example.com"
    assert str(settings.kfp_token_file) == "/var/run/noria/pipelines/token"
    assert str(settings.kfp_ca_file) == "/var/run/noria/pipelines-ca/ca.crt"
    assert settings.mlflow_uri == "http://noria-mlflow.noria-system.svc:5000"
    assert settings.manage_rules
    assert settings.prometheus_labels == {"release": "kube-prometheus-stack"}
    assert settings.image_pull_secrets == ("registry",)
    assert settings.image_pull_policy == "IfNotPresent"
    assert settings.components_image.startswith("registry.example.com/ml/noria-components@sha256:")


def test_the_chart_sets_every_setting_that_the_operator_has(render: Any) -> None:
    given = set(_operator_environment(render(values=[PRODUCTION])))
    assert given == {f"NORIA_{field.name.upper()}" for field in fields(Settings)}


def test_every_image_comes_from_the_one_registry_by_digest(render: Any) -> None:
    objects = render(values=[PRODUCTION])
    images = [c["image"] for _, spec, _ in _pods(objects) for c in _containers(spec)]
    runtimes = [found for found in objects if found["kind"] == "ServingRuntime"]
    images += [c["image"] for found in runtimes for c in found["spec"]["containers"]]
    (storage,) = [found for found in objects if found["kind"] == "ClusterStorageContainer"]
    images.append(storage["spec"]["container"]["image"])
    assert len(images) > 6
    for image in images:
        assert image.startswith("registry.example.com/ml/noria-"), image
        assert "@sha256:" in image, image


def test_without_a_digest_the_tag_is_the_charts_version(render: Any) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for _, spec, _ in _pods(render()):
        assert all(c["image"].endswith(f":{version}") for c in _containers(spec))


def test_every_service_port_is_allowed_by_a_policy_and_all_else_denied(render: Any) -> None:
    objects = render(values=[PRODUCTION])
    policies = [found for found in objects if found["kind"] == "NetworkPolicy"]
    denying = [found for found in policies if found["metadata"]["name"] == "noria-default-deny"]
    assert {found["metadata"]["namespace"] for found in denying} == {NAMESPACE, "team-a", "team-b"}
    assert all({"ingress", "egress"}.isdisjoint(found["spec"]) for found in denying)
    services = [found for found in objects if found["kind"] == "Service"]
    assert len(services) == 4
    for service in services:
        selector = service["spec"]["selector"]
        (labels,) = [
            labels for _, _, labels in _pods(objects) if selector.items() <= labels.items()
        ]
        (spec,) = [s for _, s, held in _pods(objects) if selector.items() <= held.items()]
        ports = {p["name"]: p["containerPort"] for c in spec["containers"] for p in c["ports"]}
        assert labels["app.kubernetes.io/part-of"] == "noria"
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] in _allowed(policies, labels), service["metadata"]


def _allowed(policies: Objects, labels: dict[str, str]) -> set[int]:
    return {
        port["port"]
        for policy in policies
        if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()
        and "matchExpressions" not in policy["spec"]["podSelector"]
        for rule in policy["spec"].get("ingress", ())
        for port in rule["ports"]
    }


def test_every_allowance_lets_names_be_looked_up(render: Any) -> None:
    for found in render(values=[PRODUCTION]):
        if found["kind"] == "NetworkPolicy" and "egress" in found["spec"]:
            ports = {p["port"] for rule in found["spec"]["egress"] for p in rule["ports"]}
            assert 53 in ports, found["metadata"]["name"]


TOGGLES = [
    ("crds.enabled", True, {"CustomResourceDefinition/models.noria.dev"}),
    (
        "kserve.enabled",
        True,
        {"ServingRuntime/noria-server", "ClusterStorageContainer/noria-models"},
    ),
    ("dashboards.enabled", True, {"ConfigMap/noria-dashboard-fleet"}),
    ("prometheus.rules", False, {"PrometheusRule/noria-fleet"}),
    ("prometheus.monitors", False, {"ServiceMonitor/noria-operator"}),
    (
        "networkPolicies.enabled",
        True,
        {
            f"NetworkPolicy/noria-{name}"
            for name in ("default-deny", "operator", "mlflow", "monitors", "servers", "test")
        },
    ),
    (
        "tests.enabled",
        True,
        {"Pod/noria-test", "Role/noria-test", "RoleBinding/noria-test",
         "ServiceAccount/noria-test", "NetworkPolicy/noria-test",
         f"ClusterRole/noria-test-{NAMESPACE}", f"ClusterRoleBinding/noria-test-{NAMESPACE}"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("toggle", "default", "names"), TOGGLES, ids=[t[0] for t in TOGGLES])
def test_a_toggle_adds_its_objects_and_no_others(
    render: Any, toggle: str, default: bool, names: set[str]
) -> None:
    on, off = _names(render(f"{toggle}=true")), _names(render(f"{toggle}=false"))
    assert on - off == names
    assert off <= on
    assert _names(render()) == (on if default else off)


@pytest.mark.parametrize(
    ("component", "sets"),
    [
        ("webhook", ("webhook.enabled=true", "webhook.tokenSecret.name=t")),
        ("feast", ("feast.enabled=true", "feast.configSecret.name=f")),
    ],
)
def test_a_component_that_is_off_by_default_comes_whole(
    render: Any, component: str, sets: tuple[str, ...]
) -> None:
    added = _names(render(*sets)) - _names(render())
    kinds = {"Deployment", "Service", "ServiceAccount", "NetworkPolicy"}
    kinds |= {"Role", "RoleBinding"} if component == "webhook" else set()
    assert added == {f"{kind}/noria-{component}" for kind in kinds}


def test_mlflow_can_be_somebody_elses(render: Any) -> None:
    objects = render("mlflow.enabled=false", "mlflow.externalUri=https://mlflow.example.com")
    assert not any("mlflow" in name for name in _names(objects))
    assert read_settings(_operator_environment(objects)).mlflow_uri == "https://mlflow.example.com"


def test_disruption_is_budgeted_only_where_another_pod_can_take_over(render: Any) -> None:
    assert not any(name.startswith("PodDisruptionBudget") for name in _names(render()))
    budgets = {name for name in _names(render(values=[PRODUCTION])) if name.startswith("PodD")}
    components = ("operator", "webhook", "mlflow", "feast")
    assert budgets == {f"PodDisruptionBudget/noria-{name}" for name in components}


def test_the_crd_is_kept_when_the_chart_goes_unless_told(render: Any) -> None:
    def policy(*sets: str) -> str | None:
        (crd,) = [o for o in render(*sets) if o["kind"] == "CustomResourceDefinition"]
        found: str | None = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        return found

    assert policy() == "keep"
    assert policy("crds.keep=false") is None


def test_the_crd_is_the_generated_one(render: Any) -> None:
    (crd,) = [o for o in render("crds.keep=false") if o["kind"] == "CustomResourceDefinition"]
    assert crd == yaml.safe_load((ROOT / "manifests/crd/models.noria.dev.yaml").read_text())


def test_the_runtime_and_the_initializer_are_servings_own(render: Any) -> None:
    policy = "images.pullPolicy=Never"
    objects = render("mlflow.clientSecret=m", "global.imagePullSecrets={p}", policy)
    (runtime,) = [found for found in objects if found["kind"] == "ServingRuntime"]
    (storage,) = [found for found in objects if found["kind"] == "ClusterStorageContainer"]
    wanted = serving_runtime(
        "noria-serving:0.2.0", namespace=NAMESPACE, pull_secrets=["p"], pull_policy="Never"
    )
    assert runtime["spec"] == wanted["spec"]
    assert runtime["metadata"]["name"] == wanted["metadata"]["name"]
    container = cluster_storage_container(
        "noria-operator:0.2.0",
        "http://noria-mlflow.noria-system.svc:5000",
        "m",
        pull_policy="Never",
    )
    assert storage["spec"] == container["spec"]
    assert storage["metadata"]["name"] == container["metadata"]["name"]


def test_secrets_are_only_named(render: Any) -> None:
    assert not any(found["kind"] == "Secret" for found in render(values=[PRODUCTION]))


REFUSED = [
    ("operator.replicas=many", "at '/operator/replicas': got string, want integer"),
    ("operator.replica=2", "at '/operator': additional properties 'replica' not allowed"),
    ("operator.replicas=0", "at '/operator/replicas'"),
    ("operator.traffic=istio", "at '/operator/traffic'"),
    ("operator.cycle=soon", "at '/operator/cycle'"),
    ("operator.namespaces={Team_A}", "at '/operator/namespaces/0'"),
    ("images.operator.digest=latest", "at '/images/operator/digest'"),
    ("mlflow.database.kind=mysql", "at '/mlflow/database/kind'"),
    ("mlflow.storage.size=big", "at '/mlflow/storage/size'"),
    ("webhook.enabled=true", "webhook.tokenSecret.name or webhook.hmacSecret.name"),
    ("mlflow.enabled=false", "mlflow.externalUri is empty"),
    ("mlflow.externalUri=http://m", 'is "http://m" and mlflow.enabled is true; keep one'),
    ("mlflow.database.kind=postgresql", "mlflow.database.uriSecret.name is empty"),
    ("mlflow.artifacts.kind=s3", "mlflow.artifacts.uri is empty"),
    ("mlflow.replicas=2", "mlflow.replicas is 2"),
    ("feast.enabled=true", "feast.configSecret.name is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_wrong_value_is_refused_by_name(render: Any, given: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        render(given)
    assert said in str(refused.value)


def test_the_notes_tell_of_alibis_licence(helm: Any) -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    assert "Business Source License 1.1" in notes
    assert "Seldon" in notes


@pytest.mark.parametrize("profile", PROFILES, ids=lambda file: file.stem)
def test_helm_lint_finds_nothing(helm: Any, profile: Path) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", f"--values={profile}", str(CHART))


def test_what_is_installed_is_the_snapshot(render: Any) -> None:
    """Every name and its namespace: a change of what is installed is seen in review."""
    snapshot = Path(__file__).with_name("test_helm_render.snapshot.txt")
    found = []
    for title, values in (("default", []), ("production", [PRODUCTION])):
        found.append(f"# {title}")
        found += sorted(
            f"{o['kind']} {o['metadata'].get('namespace', '-')}/{o['metadata']['name']}"
            for o in render(values=values)
        )
    assert "\n".join(found) + "\n" == snapshot.read_text(encoding="utf-8")
