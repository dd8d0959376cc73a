"""What a Model owns, what its status says, and how it ends, on a real API server."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import yaml

from monitoring.client import MonitorClient
from noria.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    INFERENCE_SERVICE,
    MODEL,
    POD_MONITOR,
    PROMETHEUS_RULE,
    PVC,
    SERVICE,
)
from noria.loop.values import Verb
from tests.cluster.controlplane.cluster import Cluster
from tests.cluster.controlplane.process import free_ports
from tests.cluster.operating import (
    ROOT,
    World,
    apply,
    resource,
    role_in,
)

pytestmark = [
    pytest.mark.cluster,
    # MLflow registers in this process, and SQLAlchemy has news for it.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


OWNED = (
    (CONFIG_MAP, "noria-monitor-flights"),
    (CONFIG_MAP, "noria-dashboard-flights"),
    (PVC, "noria-monitor-flights"),
    (SERVICE, "noria-monitor-flights"),
    (DEPLOYMENT, "noria-monitor-flights"),
    (POD_MONITOR, "noria-monitor-flights"),
    (POD_MONITOR, "noria-server-flights"),
    (PROMETHEUS_RULE, "noria-flights"),
)


def test_what_a_model_owns_is_made_repaired_and_goes_with_it(world: World) -> None:
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    world.cluster.kubectl("label", "namespace", world.namespace, restricted)
    world.start()
    world.wait_watching()
    world.apply(resource("flights"))
    client, namespace = world.admin, world.namespace

    def there() -> bool:
        return all(client.get(kind, name, namespace) for kind, name in OWNED)

    world.until(there, "all owned objects are there")
    uid = world.model("flights")["metadata"]["uid"]
    for kind, name in OWNED:
        found = client.get(kind, name, namespace)
        assert found is not None
        assert [owner["uid"] for owner in found["metadata"]["ownerReferences"]] == [uid]
        managers = {entry["manager"] for entry in found["metadata"]["managedFields"]}
        assert "noria-operator" in managers
    world.until(
        lambda: (
            (client.get(DEPLOYMENT, "noria-monitor-flights", namespace) or {})
            .get("status", {})
            .get("availableReplicas")
        ),
        "a restricted namespace admits the monitor, and its pod runs",
    )

    # Drift is repaired: a deleted object, and a changed field.
    client.delete(SERVICE, "noria-monitor-flights", namespace)
    client.patch_merge(DEPLOYMENT, "noria-monitor-flights", namespace, {"spec": {"replicas": 0}})

    def repaired() -> bool:
        found = client.get(DEPLOYMENT, "noria-monitor-flights", namespace) or {"spec": {}}
        service = client.get(SERVICE, "noria-monitor-flights", namespace)
        return found["spec"].get("replicas") == 1 and service is not None

    world.until(repaired, "drift is repaired")
    assert world.condition("flights", "Monitored")["status"] == "False"
    assert "does not answer" in world.condition("flights", "Monitored")["message"]

    first = world.train("flights")
    world.until(lambda: world.services("flights") == [f"flights-v{first}"], "v1 is served")
    world.until(lambda: world.state("flights").champion == first, "v1 is champion")
    world.command("flights", "train")
    world.until(lambda: world.unfinished("flights") is not None, "a run is in flight")
    run = world.unfinished("flights")
    world.cluster.kubectl("delete", "model", "flights", f"--namespace={namespace}", "--wait=false")

    def gone() -> bool:
        left = [kind for kind, name in OWNED if client.get(kind, name, namespace)]
        served = client.list(INFERENCE_SERVICE, namespace)
        return client.get(MODEL, "flights", namespace) is None and not left and not served

    world.until(gone, "the Model and all that it owned are gone")
    (cancelled,) = (r["run_id"] for r in world.kfp.runs() if r["display_name"] == run)
    asked = [request["path"] for request in world.kfp.requests()]
    assert any(path.endswith(f"{cancelled}:terminate") for path in asked)
    assert world.unfinished("flights") is None
    # What people may want again stays: versions, and who was champion.
    assert world.registry.alias("flights", "champion") == first
    assert world.denied() == 0
    assert world.terminate() == 0


def test_an_object_of_somebody_else_is_left_alone_and_told(world: World) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "noria-dashboard-flights"},
        "data": {"theirs": "yes"},
    }
    world.apply(theirs)
    world.start()
    world.wait_watching()
    world.apply(resource("flights"))
    world.until(
        lambda: "noria-dashboard-flights" in world.condition("flights", "Degraded")["message"],
        "the status names it",
    )
    found = world.admin.get(CONFIG_MAP, "noria-dashboard-flights", world.namespace)
    assert found is not None
    assert found["data"] == {"theirs": "yes"}
    # The others are made, and the loop turns.
    assert world.admin.get(DEPLOYMENT, "noria-monitor-flights", world.namespace) is not None
    world.until(lambda: world.unfinished("flights") is not None, "the first run is in flight")
    world.admin.delete(CONFIG_MAP, "noria-dashboard-flights", world.namespace)
    world.until(lambda: world.condition("flights", "Degraded")["status"] == "False", "it is mended")


def test_a_model_of_a_name_that_another_namespace_has_is_refused(
    world: World, cluster: Cluster
) -> None:
    second = f"{world.namespace}-b"
    cluster.kubectl("create", "namespace", second)
    try:
        role_in(cluster, second, world.namespace)
        world.variables["NORIA_NAMESPACES"] = f"{world.namespace},{second}"
        world.apply(resource("flights"))
        time.sleep(1.1)  # creation times have whole seconds
        apply(cluster, second, resource("flights"))
        world.start()

        def refused() -> bool:
            found = world.admin.get(MODEL, "flights", second) or {}
            said = found.get("status", {}).get("conditions", ())
            return any(c["reason"] == "NameTaken" for c in said)

        world.until(refused, "the younger is refused")
        world.until(lambda: world.unfinished("flights") is not None, "the older is trained")
        assert len(world.kfp.runs()) == 1
        assert world.denied() == 0
    finally:
        cluster.kubectl("delete", "namespace", second, "--wait=false")


def test_a_spec_that_only_the_operator_can_refuse_stops_the_loop_and_says_why(
    world: World,
) -> None:
    world.start()
    world.wait_watching()
    world.apply(resource("flights"))
    world.until(lambda: world.unfinished("flights") is not None, "the first run is in flight")
    # Valid for the schema: only a rule, here one of the family's, refuses it.
    world.apply(resource("flights", train={"hyperparameters": {"no_such_parameter": 1}}))
    world.until(
        lambda: world.condition("flights", "Ready")["reason"] == "InvalidSpec", "it is refused"
    )
    said = world.condition("flights", "Ready")["message"]
    assert "no_such_parameter" in said
    assert world.status("flights")["observedGeneration"] == 2
    revision = world.store.load("flights")
    time.sleep(1.5)
    assert world.store.load("flights") == revision, "the loop turned"
    world.apply(resource("flights"))
    world.until(
        lambda: world.condition("flights", "Ready")["reason"] == "NoVersionYet", "it turns again"
    )
    world.train("flights")
    world.until(lambda: world.condition("flights", "Ready")["status"] == "True", "it serves")


def test_commands_come_by_annotation_once_and_leave_no_trace(world: World) -> None:
    world.start()
    world.wait_watching()
    world.apply(resource("flights"))
    first = world.train("flights")
    world.until(lambda: world.state("flights").champion == first, "v1 is champion")
    world.kill()
    # Asked while nobody listens: it is done once somebody does.
    world.command("flights", Verb.TRAIN, reason="new labels are in")
    world.start()
    world.until(lambda: len(world.runs("flights")) == 2, "the run is started")

    def annotations() -> dict[str, str]:
        found: dict[str, str] = world.model("flights")["metadata"].get("annotations", {})
        return {key: value for key, value in found.items() if key.startswith("noria.dev/command")}

    world.until(lambda: not annotations(), "the command is taken away")
    assert "new labels are in" in world.why("flights")
    second = world.train("flights")
    world.until(lambda: world.split("flights").get(f"v{second}") == 10, "the canary has begun")
    world.command("flights", Verb.PAUSE)
    world.until(lambda: not annotations(), "pause is taken")
    world.until(
        lambda: world.condition("flights", "Progressing")["reason"] == "Paused", "it is paused"
    )
    world.command("flights", Verb.ABORT)
    world.until(lambda: world.state("flights").rollout is None, "the rollout is over")
    assert world.state("flights").outcomes[-1].result == "aborted"
    world.until(lambda: not annotations(), "abort is taken")
    world.command("flights", "promte")
    world.until(lambda: not annotations(), "a verb that is none is taken away too")
    told = world.cluster.kubectl("get", "events", f"--namespace={world.namespace}")
    assert "CommandRefused" in told
    time.sleep(1)
    assert len(world.runs("flights")) == 2
    assert world.denied() == 0


def test_one_operator_acts_at_a_time_and_one_that_loses_the_lead_ends(world: World) -> None:
    world.start()
    world.wait_watching()
    (port,) = free_ports(1)
    other = World(
        world.cluster, world.namespace, world.folder / "b", world.kfp, world.traffic,
        world.kubeconfig, port=port,
    )  # fmt: skip
    other.folder.mkdir()
    other.log = other.folder / "operator.log"
    other.variables = {
        "NORIA_POD_NAME": "operator-1",
        "NORIA_MLFLOW_URI": world.tracking_uri,
        "NORIA_MLFLOW_ARTIFACTS": str(world.artifacts),
    }
    try:
        other.start()
        other.until(lambda: "noria_operator_leader 0.0" in other.metrics(), "it waits")
        assert "noria_operator_leader 1.0" in world.metrics()
        # Somebody takes the lease away, as after a partition.
        world.cluster.kubectl(
            "patch", "lease", "noria-operator", f"--namespace={world.namespace}", "--type=merge",
            '--patch={"spec":{"holderIdentity":"operator-9","leaseDurationSeconds":15}}',
        )  # fmt: skip
        assert world.process is not None
        assert world.process.wait(40) == 1
        other.until(lambda: "noria_operator_leader 1.0" in other.metrics(), "the other leads")
        other.apply(resource("flights"))
        other.until(lambda: other.unfinished("flights") is not None, "and acts")
        assert other.terminate() == 0
    finally:
        other.kill()


def test_the_monitor_is_given_the_reference_of_the_version_that_serves(world: World) -> None:
    document = resource("flights")
    file = world.folder / "model.yaml"
    file.write_text(yaml.safe_dump(document))
    (port,) = free_ports(1)
    world.variables["NORIA_MONITOR_URL"] = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "monitoring", "--model", str(file)),
        *("--state", str(world.folder / "monitor"), "--port", str(port)),
    ]
    monitor = subprocess.Popen(command, cwd=ROOT)
    try:
        world.start()
        world.wait_watching()
        world.apply(document)
        first = world.train("flights")
        with MonitorClient(f"http://127.0.0.1:{port}") as client:
            world.until(lambda: client.status("flights")["champion"] == first, "it is told")
        world.until(
            lambda: world.condition("flights", "Monitored")["status"] == "True", "and it is said"
        )
        # It is watched from its first request on; the champion it is when it has all the traffic.
        info = f'noria_loop_champion_info{{model="flights",namespace="{world.namespace}"'
        world.until(lambda: info in world.metrics(), "it is the champion")
        assert world.status("flights")["url"].endswith("/v2/models/flights")
        assert world.denied() == 0
    finally:
        monitor.terminate()
        monitor.wait(20)
