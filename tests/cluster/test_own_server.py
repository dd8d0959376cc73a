"""Servers that are not Noria's, made and rolled out by the running KServe controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from noria.kube import KubeClient
from noria.kube.kinds import DEPLOYMENT, INFERENCE_SERVICE, POD, SERVICE, SERVING_RUNTIME
from noria.loop.conformance import TrafficConformance
from noria.loop.fakes import sample_model
from serving.traffic.kserve_objects import KServeOptions, service_name
from serving.traffic.kserve_routes import KServeRouteTraffic
from tests.cluster import serving_world as sw
from tests.cluster.controlplane.cluster import Cluster

MODEL = "flights"
IMAGE = f"registry.test/churn-server@sha256:{'ab' * 32}"
OWN = {"image": IMAGE, "args": ["--name=$(NORIA_MODEL)"], "env": {"THREADS": "1"}}
NAMED = {"name": "their-server", "format": "theirs", "args": ["--name=$(NORIA_MODEL)", "{{.Name}}"]}
METRICS = {"requests": ["http_requests_total"], "errors": ['http_requests_total{code=~"5.."}']}


def options(namespace: str, runtime: dict[str, Any]) -> KServeOptions:
    serving = {
        "runtime": {**runtime, "metrics": METRICS},
        "resources": {"cpu": "10m", "memory": "16Mi"},
        "canary": {"analysis": [{"metric": "error-rate", "max": 0.01}]},
    }
    gateway = "kserve/kserve-ingress-gateway"
    return KServeOptions.of(sample_model(serving=serving), namespace, gateway=gateway)


def their_runtime(namespace: str) -> dict[str, Any]:
    """A runtime as others ship them: with its own image, arguments and no security context."""
    container = {
        "name": "kserve-container",
        "image": "others.test/server:1",
        "args": ["--port=8080"],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "their-server", "namespace": namespace},
        "spec": {
            "containers": [container],
            "protocolVersions": ["v1", "v2"],
            "supportedModelFormats": [{"name": "theirs", "version": "1"}],
        },
    }


Serve = Callable[[dict[str, Any]], sw.World]


@pytest.fixture
def serve(cluster: Cluster, namespace: str) -> Serve:
    node = cluster.node
    if node is None:
        pytest.skip("needs the node stand-in")
    client: KubeClient = sw.connect(cluster.kubeconfig)
    sw.install(client, namespace)
    client.apply(SERVING_RUNTIME, their_runtime(namespace), namespace)

    def made(runtime: dict[str, Any]) -> sw.World:
        return sw.World(
            lambda seen: KServeRouteTraffic(
                seen, namespace, sw.resolve, options(namespace, runtime)
            ),
            client,
            MODEL,
            namespace,
            lambda version: node.fail(namespace, service_name(MODEL, version)),
        )

    return made


class TestAnImageOfOnesOwn(TrafficConformance):
    @pytest.fixture
    def driver(self, serve: Serve) -> sw.World:
        return serve(OWN)


class TestARuntimeOfOthers(TrafficConformance):
    @pytest.fixture
    def driver(self, serve: Serve) -> sw.World:
        return serve(NAMED)


def up(world: sw.World, version: str = "7") -> dict[str, Any]:
    """Deploy a version; return the template of its pods as KServe made it."""
    world.port.deploy(MODEL, version)
    sw.until(lambda: world.port.ready(MODEL).get(version), bool, "readiness")
    found = world.client.get(DEPLOYMENT, service_name(MODEL, version), world.namespace)
    assert found is not None
    template: dict[str, Any] = found["spec"]["template"]
    return template


def pod(world: sw.World) -> dict[str, Any]:
    """Return the one pod, as the webhooks of KServe changed it."""
    (found,) = world.client.list(POD, world.namespace)
    return found


def container(found: dict[str, Any], name: str = "kserve-container") -> dict[str, Any]:
    spec = found["spec"]
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    (one,) = [each for each in every if each["name"] == name]
    return dict(one)


@pytest.mark.parametrize("runtime", [OWN, NAMED], ids=["image", "named"])
def test_the_package_comes_by_our_initializer(serve: Serve, runtime: dict[str, Any]) -> None:
    world = serve(runtime)
    template = up(world)
    assert template["metadata"]["labels"]["noria.dev/model"] == MODEL
    assert template["metadata"]["labels"]["noria.dev/version"] == "7"
    initializer = container(pod(world), "storage-initializer")
    assert initializer["command"] == ["python", "-m", "noria.registry.initializer"]
    assert initializer["args"] == ["models:/flights/7", "/mnt/models"]
    mounted = {m["mountPath"] for m in container(pod(world))["volumeMounts"]}
    assert "/mnt/models" in mounted


@pytest.mark.parametrize("runtime", [OWN, NAMED], ids=["image", "named"])
def test_kserves_agent_logs_to_the_monitor_with_the_version(
    serve: Serve, runtime: dict[str, Any]
) -> None:
    world = serve(runtime)
    up(world)
    arguments = container(pod(world), "agent")["args"]
    told = dict(zip(arguments[::2], arguments[1::2], strict=False))
    assert told["--log-url"] == f"http://noria-monitor-flights.{world.namespace}.svc:8080"
    assert told["--log-mode"] == "all"
    assert told["--inference-service"] == f"{MODEL}-v7"
    assert "noria.dev/model-version=7" in " ".join(arguments)
    service = world.client.get(SERVICE, service_name(MODEL, "7"), world.namespace)
    assert service is not None
    # Requests go by the agent.
    agent = container(pod(world), "agent")["ports"][0]["containerPort"]
    assert service["spec"]["ports"][0]["targetPort"] in (agent, str(agent))


def test_an_image_runs_as_it_is_with_its_probes_and_restricted(serve: Serve) -> None:
    world = serve(OWN)
    template = up(world)
    server = container(template)
    assert (server["image"], server["args"]) == (IMAGE, ["--name=$(NORIA_MODEL)"])
    variables = {each["name"]: each.get("value") for each in server["env"]}
    assert variables["NORIA_MODEL"] == MODEL
    assert variables["NORIA_VERSION"] == "7"
    assert variables["THREADS"] == "1"
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert server["startupProbe"]["httpGet"]["port"] == 8080
    assert server["livenessProbe"]["tcpSocket"]["port"] == 8080
    assert server["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    assert server["securityContext"]["readOnlyRootFilesystem"] is True
    assert server["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert template["spec"]["serviceAccountName"] == "noria-serving"
    assert template["spec"]["automountServiceAccountToken"] is False
    assert "/tmp" in {mount["mountPath"] for mount in server["volumeMounts"]}


def test_a_named_runtime_keeps_its_image_and_gets_arguments_behind_its_own(serve: Serve) -> None:
    world = serve(NAMED)
    template = up(world)
    server = container(template)
    assert server["image"] == "others.test/server:1"
    # KServe's templates have run; the kubelet puts the variables in.
    assert server["args"] == ["--port=8080", "--name=$(NORIA_MODEL)", "{{.Name}}"]
    variables = {each["name"]: each.get("value") for each in server["env"]}
    assert variables["NORIA_MODEL"] == MODEL
    assert template["spec"]["securityContext"]["runAsUser"] == 65532


@pytest.mark.parametrize("runtime", [OWN, NAMED], ids=["image", "named"])
def test_a_canary_goes_its_steps(serve: Serve, runtime: dict[str, Any]) -> None:
    world = serve(runtime)
    up(world)
    sw.insist(
        lambda: world.port.set_weights(MODEL, {"7": 100}),
        lambda: sw.is_split(world.port, MODEL, {"7": 100}),
    )
    sw.roll_out(world.port, MODEL, "7", "8")
    assert dict(world.port.ready(MODEL)) == {"8": True}
    assert sw.is_split(world.port, MODEL, {"8": 100})
    sw.until(
        lambda: world.client.list(INFERENCE_SERVICE, world.namespace),
        lambda found: [item["metadata"]["name"] for item in found] == ["flights-v8"],
        "InferenceServices",
    )


def test_a_model_moves_from_norias_server_to_an_image(serve: Serve) -> None:
    world = serve(OWN)
    norias = KServeRouteTraffic(world.client, world.namespace, sw.resolve, sw.options())
    norias.deploy(MODEL, "7")
    sw.until(lambda: norias.ready(MODEL).get("7"), bool, "readiness")
    sw.insist(
        lambda: norias.set_weights(MODEL, {"7": 100}),
        lambda: sw.is_split(norias, MODEL, {"7": 100}),
    )
    sw.roll_out(world.port, MODEL, "7", "8")
    assert sw.is_split(world.port, MODEL, {"8": 100})


def test_a_runtime_that_is_not_there_is_told(serve: Serve) -> None:
    world = serve({**NAMED, "name": "nowhere"})
    world.port.deploy(MODEL, "7")
    said = sw.until(
        lambda: dict(world.port.problems(MODEL)), lambda found: "7" in found, "the problem"
    )
    assert "nowhere" in said["7"] or "untime" in said["7"]
