"""As a platform engineer does it: Helm installs Noria, kubectl applies the flights example.

All of it is the chart's own: the operator's variables come from the Deployment that Helm made,
its rights are those of the chart's account. It is killed around each act of two rollouts, and
the HTTPRoute is watched all the while.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.controlplane.cluster import Cluster
from tests.cluster.operating import ROOT, Traffic, World
from tests.cluster.released import (
    FLIGHTS,
    Released,
    RouteWatch,
    values_of_the_page,
)
from tests.registry.mlflow_server import answers, mlflow_server

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("nobody_elses"),
    # MLflow registers in this process, and SQLAlchemy has news for it.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CHART = ROOT / "helm" / "noria"


@pytest.fixture
def namespaces(cluster: Cluster, namespace: str) -> Iterator[tuple[str, str]]:
    """Those of the release and of the Models, both refusing pods that are not restricted."""
    models = f"{namespace}-models"
    cluster.kubectl("create", "namespace", models)
    for name in (namespace, models):
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield namespace, models
    cluster.kubectl("delete", "namespace", models, "--wait=false")


@pytest.fixture
def world(
    cluster: Cluster,
    namespaces: tuple[str, str],
    tmp_path: Path,
    kfp_server: Callable[..., Any],
    helm: Callable[..., str],
) -> Iterator[Released]:
    system, models = namespaces
    traffic = Traffic(tmp_path / "prometheus")
    with mlflow_server(tmp_path / "mlflow") as mlflow:
        kfp = kfp_server()
        cluster.kubectl(
            "create", "secret", "generic", "webhook-token", f"--namespace={system}",
            "--from-literal=token=of-a-test",
        )  # fmt: skip
        ours = tmp_path / "values.yaml"
        ours.write_text(yaml.safe_dump(values(models, kfp.url, mlflow, traffic.url)))
        page = tmp_path / "values-of-the-page.yaml"
        page.write_text(yaml.safe_dump(values_of_the_page()))
        print(
            helm(
                "install", "noria", str(CHART), f"--namespace={system}",
                f"--values={page}", f"--values={ours}",
                # Other tests may have left the CRD, which belongs to the cluster.
                "--take-ownership", "--force-conflicts",
            )
        )  # fmt: skip
        account = cluster.kubeconfig_for("noria-operator", system)
        answers(f"{mlflow}/health")
        made = Released(
            cluster, models, tmp_path, kfp, traffic, account, tracking_uri=mlflow, system=system
        )
        try:
            yield made
        finally:
            made.close()
            traffic.close()
            helm("uninstall", "noria", f"--namespace={system}", "--ignore-not-found")


def values(models: str, pipelines: str, mlflow: str, prometheus: str) -> dict[str, Any]:
    """Return what differs from the page: the names and addresses of this place, and haste."""
    return {
        "operator": {"namespaces": [models], "cycle": "300ms"},
        # Its pods' namespace would be `kubeflow`, which somebody may have.
        "pipelines": {"host": pipelines, "runNamespaces": []},
        # No kubelet would start the chart's own MLflow.
        "mlflow": {
            "enabled": False,
            "externalUri": mlflow,
            "database": {"kind": "sqlite", "uriSecret": {"name": ""}},
        },
        "prometheus": {"url": prometheus},
    }


@pytest.mark.timeout(600)
def test_flights_from_helm_install_to_helm_uninstall(
    world: Released, helm: Callable[..., str]
) -> None:
    assert world.container("noria-operator")["args"] == ["operator"]
    before = contents(world)
    route = RouteWatch(world.cluster, world.namespace, world.folder / "route.txt")
    try:
        walks_to_the_champion_however_often_it_is_killed(world, route)
        sends_a_failing_version_back(world, route)
    finally:
        route.close()
    tells_the_story(world)
    world.cluster.kubectl(
        "delete", "nm", "flights", f"--namespace={world.namespace}", "--timeout=240s"
    )
    world.until(lambda: contents(world) == before, "nothing is left of flights")
    assert_never_denied(world)
    log = world.log.read_text()
    assert f"{world.namespace}/flights: its run, route and servers are gone" in log
    assert " ERROR " not in log
    assert world.terminate() == 0
    helm("uninstall", "noria", f"--namespace={world.system}", "--cascade=foreground", "--wait")
    left = names(world, world.system) | names(world, world.namespace)
    # The operator made it, not Helm; docs/kubernetes.md says so.
    assert [name for name in left if "noria" in name] == [
        "lease.coordination.k8s.io/noria-operator"
    ]


def walks_to_the_champion_however_often_it_is_killed(world: Released, route: RouteWatch) -> None:
    """v1 is trained and served; v2 takes its place step by step."""
    served: list[str] = []
    canaries: list[str] = []

    def live() -> None:
        world.feed(served)
        if not canaries and world.status("flights").get("stage") == "canary":
            canaries.append(kubectl(world, "get", "nm"))

    world.beat = live
    world.start_dying()
    world.cluster.kubectl("apply", f"--filename={FLIGHTS}", f"--namespace={world.namespace}")
    world.run_monitor("flights")
    served.append(world.train("flights"))
    is_champion(world, "1")

    ask_for_a_run(world)
    served.append(world.train("flights"))
    is_champion(world, "2")

    assert route.splits("flights") == [
        {"v1": 100},
        {"v1": 90, "v2": 10},
        {"v1": 50, "v2": 50},
        {"v2": 100},
    ]
    print(*canaries)
    splits = ("1=100", "1=90 2=10", "1=50 2=50", "2=100")
    expected = {
        *(f"before any {kind}" for kind in ("start", "deploy", "weights", "alias", "retire")),
        *(f"after start {number}" for number in (1, 2)),
        *(f"after deploy {version}" for version in (1, 2)),
        *(f"after weights {split}" for split in splits),
        *(f"after alias {version}" for version in (1, 2)),
        "after retire 1",
    }
    assert expected <= world.died()
    assert world.registry.alias("flights", "champion") == "2"
    assert world.services("flights") == ["flights-v2"]


def sends_a_failing_version_back(world: Released, route: RouteWatch) -> None:
    """v3 answers with errors: the analysis fails, and v2 has all of the traffic again."""
    world.traffic.failing.add(("flights", "3"))
    for mark in world.marks.iterdir():
        mark.unlink()
    ask_for_a_run(world)
    assert world.train("flights") == "3"
    world.until(
        lambda: (
            [o.result for o in world.state("flights").outcomes if o.version == "3"]
            and not world.state("flights").outbox
            and world.services("flights") == ["flights-v2"]
        ),
        "v3 is aborted and retired",
        120,
    )
    assert world.state("flights").outcomes[-1].result == "aborted"
    assert route.splits("flights")[-3:] == [{"v2": 100}, {"v2": 90, "v3": 10}, {"v2": 100}]
    assert world.died() == {
        *(f"before any {kind}" for kind in ("start", "deploy", "weights", "retire")),
        *(f"after {kind} 3" for kind in ("start", "deploy", "retire")),
        *(f"after weights {split}" for split in ("2=90 3=10", "2=100")),
    }
    assert world.registry.alias("flights", "champion") == "2"
    runs = world.runs("flights")
    assert len(runs) == len(set(runs)) == 3
    assert len(world.registry.versions("flights")) == 3
    world.verify("flights")


def tells_the_story(world: Released) -> None:
    """From here on the operator is the image's own command, undisturbed."""
    world.kill()
    world.beat = None
    world.start()
    world.wait_watching()
    world.until(
        lambda: "v3 aborted" in world.status("flights")["printed"]["verdict"], "all is told"
    )
    table = kubectl(world, "get", "nm")
    row = re.split(r"\s{2,}", table.splitlines()[1])
    assert row[:2] + row[3:5] == ["flights", "serving", "v2 100 %", row[4]]
    assert row[4].startswith("v3 aborted: step 1 of 2 (10 %) failed: error-rate is 0.5")
    told = kubectl(world, "describe", "nm", "flights")
    print(table, told[told.index("Status:") :])
    for sentence in (
        "v1 is the champion: it is the first version",
        "v2: rollout begins, its gates passed",
        "v2: step 1 of 2 (10 %) begins",
        "v2: step 2 of 2 (50 %) begins",
        "the timetable has changed",
        "v3: aborted, step 1 of 2 (10 %) failed: error-rate is 0.5",
        "traffic is v1 50 %, v2 50 %; asked for v2 100 %",
    ):
        assert sentence in told[told.index("Events:") :], sentence
    wanted = {
        "Ready": ("True", "Serving"),
        "Training": ("False", "Idle"),
        "Progressing": ("False", "NoRollout"),
        "Monitored": ("True", "Watching"),
        "Degraded": ("False", "AsExpected"),
    }

    def conditions() -> dict[str, tuple[str, str]]:
        found = {kind: world.condition("flights", kind) for kind in wanted}
        return {kind: (said["status"], said["reason"]) for kind, said in found.items()}

    world.until(lambda: conditions() == wanted, "the conditions tell it")


def is_champion(world: World, version: str) -> None:
    """Wait until a version is the champion, and nothing is left to do."""

    def there() -> bool:
        state = world.state("flights")
        over = state.rollout is None and not state.outbox
        return (
            state.champion == version
            and over
            and world.services("flights") == [f"flights-v{version}"]
        )

    world.until(there, f"v{version} is the champion, alone", 240)


def ask_for_a_run(world: World) -> None:
    world.command("flights", "train", "the timetable has changed")


def kubectl(world: World, *arguments: str) -> str:
    return world.cluster.kubectl(*arguments, f"--namespace={world.namespace}")


def contents(world: World) -> set[str]:
    """Return everything in the Models' namespace but its Events, which outlive what they tell."""
    return names(world, world.namespace)


def names(world: World, namespace: str) -> set[str]:
    """Return everything in a namespace but Events."""
    kinds = world.cluster.kubectl(
        "api-resources", "--verbs=list", "--namespaced", "--output=name"
    ).split()
    listed = ",".join(kind for kind in kinds if not kind.startswith("events"))
    found = world.cluster.kubectl(
        "get", listed, f"--namespace={namespace}", "--ignore-not-found", "--output=name"
    )
    return set(found.split())


def assert_never_denied(world: World) -> None:
    """No life of the operator was denied anything, by its log; nor was the last, by its count."""
    said = world.log.read_text()
    assert not re.findall(r".*(?:denied: |Forbidden).*", said)
    assert world.denied() == 0
