"""One InferenceService per version behind our own HTTPRoute, on the running KServe controller."""

from __future__ import annotations

import pytest

from noria.errors import Conflict, TrafficError
from noria.kube import KubeClient
from noria.kube.kinds import DEPLOYMENT, HTTP_ROUTE, INFERENCE_SERVICE, POD, SERVICE
from noria.loop.conformance import TrafficConformance
from serving.traffic.choose import choose_traffic
from serving.traffic.kserve_objects import MODEL_LABEL, VERSION_LABEL, service_name
from serving.traffic.kserve_routes import KServeRouteTraffic
from serving.traffic.workload import why_down
from tests.cluster import serving_world as sw
from tests.cluster.controlplane.cluster import Cluster

MODEL = "flights"


@pytest.fixture
def client(cluster: Cluster) -> KubeClient:
    return sw.connect(cluster.kubeconfig)


@pytest.fixture
def driver(cluster: Cluster, client: KubeClient, namespace: str) -> sw.World:
    sw.install(client, namespace)
    node = cluster.node
    if node is None:
        pytest.skip("needs the node stand-in")
    return sw.World(
        lambda made: KServeRouteTraffic(made, namespace, sw.resolve, sw.options()),
        client,
        MODEL,
        namespace,
        lambda version: node.fail(namespace, service_name(MODEL, version)),
    )


class TestRouteTraffic(TrafficConformance):
    pass


def test_why_a_version_does_not_come_up_is_told_by_its_pods(driver: sw.World) -> None:
    driver.fail("7")
    driver.port.deploy(MODEL, "7")
    said = sw.until(
        lambda: driver.port.problems(MODEL).get("7", ""), bool, "what is wrong with version 7"
    )
    assert said == "CrashLoopBackOff: told to fail by a test"


def test_a_pod_that_no_node_has_room_for_says_so(client: KubeClient, namespace: str) -> None:
    labels = {MODEL_LABEL: MODEL, VERSION_LABEL: "9"}
    container = {"name": "server", "image": "registry.test/server:1"}
    pod = {
        "metadata": {"name": "no-room", "labels": labels},
        "spec": {"containers": [container], "nodeSelector": {"zone": "nowhere"}},
    }
    client.apply(POD, pod, namespace)
    assert why_down(client, namespace, MODEL, "9", {}) == ""
    message = "0/1 nodes are available: 1 Insufficient cpu."
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
    }  # fmt: skip
    client.patch_status(POD, "no-room", namespace, {"conditions": [condition]})
    said = why_down(client, namespace, MODEL, "9", {})
    assert said == f"Unschedulable: {message}"
    # What KServe says of its own comes first.
    failed = {"status": {"modelStatus": {"lastFailureInfo": {"reason": "ModelLoadFailed"}}}}
    assert why_down(client, namespace, MODEL, "9", failed) == "ModelLoadFailed"


REDACT = ("소득, 연간", "{{.Name}} $(HOME)")


def test_the_server_is_told_what_it_serves(driver: sw.World) -> None:
    world = driver
    world.port = KServeRouteTraffic(
        world.client,
        world.namespace,
        sw.resolve,
        sw.options(grpc=True, sink="http://noria-monitor-flights.x.svc:8080", redact=REDACT),
    )
    world.port.deploy(MODEL, "7")
    sw.until(lambda: world.port.ready(MODEL).get("7"), bool, "readiness")
    name = service_name(MODEL, "7")
    deployment = world.client.get(DEPLOYMENT, name, world.namespace)
    assert deployment is not None
    pod = deployment["spec"]["template"]
    server = pod["spec"]["containers"][0]
    assert server["command"] == ["python", "-m", "serving"]
    assert server["args"] == [
        "--package=/mnt/models",
        "--host=0.0.0.0",
        "--port=8080",
        "--drain-delay=5",
        "--drain-timeout=30",
        "--name=flights",
        "--version=7",
        f"--digest={'7'.zfill(64)}",
        "--grpc-port=9000",
        f"--namespace={world.namespace}",
        "--sink=http://noria-monitor-flights.x.svc:8080",
        "--sample=1.0",
        "--max-request-bytes=16777216",
        "--batch-rows=256",
        "--batch-delay-ms=2.0",
        # KServe has run its templates; the kubelet makes one $ of two.
        "--redact=소득, 연간",
        "--redact={{.Name}} $$(HOME)",
    ]
    assert pod["spec"]["serviceAccountName"] == "noria-serving"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert server["securityContext"]["readOnlyRootFilesystem"] is True
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert pod["metadata"]["labels"]["noria.dev/version"] == "7"
    service = world.client.get(SERVICE, name, world.namespace)
    assert service is not None
    ports = [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]]
    assert ports == [(80, 8080), (9000, 9000)]


def test_pods_get_their_package_from_our_initializer(driver: sw.World, cluster: Cluster) -> None:
    world = driver
    world.port.deploy(MODEL, "7")
    sw.until(lambda: world.port.ready(MODEL).get("7"), bool, "readiness")
    found = cluster.kubectl(
        "get",
        "pods",
        f"--namespace={world.namespace}",
        "--output=jsonpath={.items[0].spec.initContainers[0].command}"
        "{.items[0].spec.initContainers[0].args}",
    )
    assert "noria.registry.initializer" in found
    assert "models:/flights/7" in found
    assert "/mnt/models" in found


def test_kserve_makes_no_route_of_its_own(driver: sw.World) -> None:
    world = driver
    for version in ("7", "8"):
        world.port.deploy(MODEL, version)
        sw.until(lambda v=version: world.port.ready(MODEL).get(v), bool, "readiness")  # type: ignore[misc]
    assert world.client.list(HTTP_ROUTE, world.namespace) == []
    world.port.set_weights(MODEL, {"7": 90, "8": 10})
    (route,) = world.client.list(HTTP_ROUTE, world.namespace)
    assert route["metadata"]["name"] == MODEL
    assert [
        {reference["name"]: reference["weight"] for reference in rule["backendRefs"]}
        for rule in route["spec"]["rules"]
    ] == [{service_name(MODEL, "7"): 90, service_name(MODEL, "8"): 10}]


def test_a_split_that_the_gateway_has_not_taken_is_not_in_force(
    driver: sw.World, cluster: Cluster
) -> None:
    world = driver
    assert cluster.node is not None
    for version in ("7", "8"):
        world.port.deploy(MODEL, version)
        sw.until(lambda v=version: world.port.ready(MODEL).get(v), bool, "readiness")  # type: ignore[misc]
    sw.insist(
        lambda: world.port.set_weights(MODEL, {"7": 100}),
        lambda: sw.is_split(world.port, MODEL, {"7": 100}),
    )
    cluster.node.hold_routes()
    try:
        world.port.set_weights(MODEL, {"8": 100})
        assert world.port.weights(MODEL) == {}
        with pytest.raises(TrafficError, match="has not taken the newest split"):
            world.port.retire(MODEL, "7")
    finally:
        cluster.node.release_routes()
    sw.until(lambda: sw.is_split(world.port, MODEL, {"8": 100}), bool, "the split")


def test_an_edit_by_somebody_else_is_a_conflict_and_then_put_right(driver: sw.World) -> None:
    world = driver
    for version in ("7", "8"):
        world.port.deploy(MODEL, version)
        sw.until(lambda v=version: world.port.ready(MODEL).get(v), bool, "readiness")  # type: ignore[misc]
    world.port.set_weights(MODEL, {"7": 100})

    class Meddler:
        """Somebody who is always faster."""

        def __getattr__(self, name: str) -> object:
            return getattr(world.client, name)

        def patch_json(self, *arguments: object, **named: object) -> object:
            body = {"spec": {"hostnames": ["ann.test"]}}
            world.client.patch_merge(HTTP_ROUTE, MODEL, world.namespace, body)
            return world.client.patch_json(*arguments, **named)  # type: ignore[arg-type]

    with pytest.raises(Conflict):
        world.make(Meddler()).set_weights(MODEL, {"8": 100})  # type: ignore[arg-type]
    sw.insist(
        lambda: world.port.set_weights(MODEL, {"8": 100}),
        lambda: sw.is_split(world.port, MODEL, {"8": 100}),
    )


def test_what_somebody_else_made_is_not_touched(driver: sw.World) -> None:
    world = driver
    foreign = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": MODEL, "namespace": world.namespace},
        "spec": {"hostnames": ["theirs.test"]},
    }
    world.client.create(HTTP_ROUTE, foreign, world.namespace)
    world.port.deploy(MODEL, "7")
    sw.until(lambda: world.port.ready(MODEL).get("7"), bool, "readiness")
    with pytest.raises(TrafficError, match="did not make"):
        world.port.set_weights(MODEL, {"7": 100})


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_rollout_killed_at_any_write_ends_in_the_same_place(
    driver: sw.World, at: int, done: bool
) -> None:
    world = driver
    world.port.deploy(MODEL, "7")
    sw.until(lambda: world.port.ready(MODEL).get("7"), bool, "readiness")
    sw.insist(
        lambda: world.port.set_weights(MODEL, {"7": 100}),
        lambda: sw.is_split(world.port, MODEL, {"7": 100}),
    )
    with pytest.raises(sw.Killed):
        sw.roll_out(world.make(sw.Mortal(world.client, at, done=done)), MODEL, "7", "8")  # type: ignore[arg-type]
    sw.roll_out(world.reopen(), MODEL, "7", "8")
    assert dict(world.port.ready(MODEL)) == {"8": True}
    assert sw.is_split(world.port, MODEL, {"8": 100})
    sw.until(
        lambda: world.client.list(INFERENCE_SERVICE, world.namespace),
        lambda found: [item["metadata"]["name"] for item in found] == ["flights-v8"],
        "InferenceServices",
    )


def test_the_cluster_of_the_tests_is_served_this_way(driver: sw.World) -> None:
    world = driver
    traffic = choose_traffic(
        world.client, world.namespace, MODEL, sw.resolve, sw.options(gateway="")
    )
    assert isinstance(traffic, KServeRouteTraffic)
    traffic.deploy(MODEL, "7")
    sw.until(lambda: traffic.ready(MODEL).get("7"), bool, "readiness")
    traffic.set_weights(MODEL, {"7": 100})
    route = world.client.get(HTTP_ROUTE, MODEL, world.namespace)
    assert route is not None
    assert route["spec"]["hostnames"] == [f"flights-{world.namespace}.models.test"]
    assert route["spec"]["parentRefs"][0]["name"] == "kserve-ingress-gateway"
