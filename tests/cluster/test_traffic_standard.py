"""KServe's own canary: against a stand-in for its controller, or the real one when it is new."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from noria.errors import Conflict, TrafficError, Unavailable
from noria.kube import KubeClient
from noria.kube.kinds import DEPLOYMENT, HTTP_ROUTE, INFERENCE_SERVICE
from noria.kube.kserve import NATIVE_SINCE, read_kserve
from noria.loop.conformance import TrafficConformance
from noria.loop.fakes import sample_model
from serving.traffic.kserve_objects import KServeOptions, service_name
from serving.traffic.kserve_standard import KServeStandardTraffic
from tests.cluster import quiet_plane
from tests.cluster import serving_world as sw
from tests.cluster.controlplane.cluster import Cluster
from tests.cluster.kserve_standin import StandardKServe
from tests.cluster.quiet_plane import Quiet

MODEL = "flights"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quiet]:
    with quiet_plane.start(tmp_path_factory.mktemp("standard")) as started:
        yield started


@pytest.fixture
def place(quiet: Quiet) -> str:
    return quiet.namespace(f"standard-{secrets.token_hex(3)}")


@pytest.fixture
def kserve(quiet: Quiet, place: str) -> Iterator[StandardKServe]:
    with StandardKServe.start(quiet.client, place) as played:
        yield played
    assert played.refusals == []


@pytest.fixture
def driver(quiet: Quiet, place: str, kserve: StandardKServe) -> sw.World:
    return world(quiet, place, replicas=1)


def world(quiet: Quiet, place: str, *, replicas: int) -> sw.World:
    return sw.World(
        lambda made: KServeStandardTraffic(made, place, sw.resolve, sw.options(replicas=replicas)),
        quiet.client,
        MODEL,
        place,
        lambda version: quiet.node.fail(place, service_name(MODEL, version)),
    )


class TestStandardTraffic(TrafficConformance):
    pass


IMAGE = f"registry.test/churn-server@sha256:{'ab' * 32}"
RUNTIMES: dict[str, dict[str, Any]] = {
    "image": {"image": IMAGE, "args": ["--name=$(NORIA_MODEL)"]},
    "named": {"name": "their-server", "format": "theirs", "gpus": 1},
}


def own(quiet: Quiet, place: str, runtime: dict[str, Any]) -> sw.World:
    metrics = {"requests": ["http_requests_total"], "errors": ["failures_total"]}
    serving = {
        "runtime": {**runtime, "metrics": metrics},
        "canary": {"analysis": [{"metric": "error-rate", "max": 0.01}]},
    }
    given = KServeOptions.of(sample_model(serving=serving), place)
    return sw.World(
        lambda made: KServeStandardTraffic(made, place, sw.resolve, given),
        quiet.client,
        MODEL,
        place,
        lambda version: quiet.node.fail(place, service_name(MODEL, version)),
    )


class TestStandardTrafficOfAnImage(TrafficConformance):
    """The API server checks every write against KServe's CRD, strictly."""

    @pytest.fixture
    def driver(self, quiet: Quiet, place: str, kserve: StandardKServe) -> sw.World:
        return own(quiet, place, RUNTIMES["image"])


class TestStandardTrafficOfANamedRuntime(TrafficConformance):
    @pytest.fixture
    def driver(self, quiet: Quiet, place: str, kserve: StandardKServe) -> sw.World:
        return own(quiet, place, RUNTIMES["named"])


def test_a_candidate_of_another_kind_of_server_is_refused(
    quiet: Quiet, place: str, kserve: StandardKServe
) -> None:
    first = world(quiet, place, replicas=1)
    serve_first(first)
    with pytest.raises(TrafficError, match="version 8 has no model, which the version that"):
        own(quiet, place, RUNTIMES["image"]).port.deploy(MODEL, "8")
    assert "canary" not in spec(first)
    assert set(first.port.ready(MODEL)) == {"7"}


class TestStandardTrafficOnTheRunningController(TrafficConformance):
    """The same against KServe's own controller, when that is new enough."""

    @pytest.fixture
    def driver(self, cluster: Cluster, namespace: str) -> sw.World:
        client = sw.connect(cluster.kubeconfig)
        number = read_kserve(client).number
        given = "NORIA_KSERVE_CONTROLLER" in os.environ
        if cluster.node is None or not (given or (number is not None and number >= NATIVE_SINCE)):
            pytest.skip("needs KServe 0.21 or later and the node stand-in")
        node = cluster.node
        sw.install(client, namespace)
        return sw.World(
            lambda made: KServeStandardTraffic(made, namespace, sw.resolve, sw.options()),
            client,
            MODEL,
            namespace,
            lambda version: node.fail(namespace, service_name(MODEL, version)),
        )


def serve_first(made: sw.World, version: str = "7") -> None:
    made.port.deploy(MODEL, version)
    sw.until(lambda: made.port.ready(MODEL).get(version), bool, "readiness")
    give(made, {version: 100})


def give(made: sw.World, split: dict[str, int]) -> None:
    sw.insist(
        lambda: made.port.set_weights(MODEL, split), lambda: sw.is_split(made.port, MODEL, split)
    )


def in_force(made: sw.World, split: dict[str, int]) -> None:
    """Wait until the gateway has taken what nobody has to ask for any more."""
    sw.until(lambda: sw.is_split(made.port, MODEL, split), bool, f"the split {split}")


def spec(made: sw.World) -> dict[str, Any]:
    found = made.client.get(INFERENCE_SERVICE, MODEL, made.namespace)
    assert found is not None
    content: dict[str, Any] = found["spec"]
    return content


def replicas(made: sw.World, version: str) -> int:
    found = made.client.get(DEPLOYMENT, service_name(MODEL, version), made.namespace)
    return int(found["spec"]["replicas"]) if found else 0


def test_a_candidate_starts_dark_with_a_server_of_its_own(driver: sw.World) -> None:
    serve_first(driver)
    driver.port.deploy(MODEL, "8")
    (canary,) = spec(driver)["canary"]
    assert (canary["trafficPercent"], canary["predictor"]["minReplicas"]) == (0, 1)
    assert canary["predictor"]["model"]["storageUri"] == "models:/flights/8"
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")
    in_force(driver, {"7": 100})


def test_the_first_version_is_not_routed_before_it_is_asked_for(
    driver: sw.World,
) -> None:
    driver.port.deploy(MODEL, "7")
    sw.until(lambda: driver.port.ready(MODEL).get("7"), bool, "readiness")
    assert driver.client.get(HTTP_ROUTE, MODEL, driver.namespace) is None
    pods = _pod_template(driver, "7")
    give(driver, {"7": 100})
    assert _pod_template(driver, "7") == pods, "routing restarts no server"


def test_a_rollout_never_leads_a_request_to_a_service_without_servers(
    driver: sw.World, kserve: StandardKServe
) -> None:
    serve_first(driver)
    sw.roll_out(driver.port, MODEL, "7", "8")
    _gone(driver, "7")
    sw.roll_out(driver.port, MODEL, "8", "9")
    _gone(driver, "8")
    assert spec(driver)["predictor"]["name"] == "v9"
    assert "canary" not in spec(driver)
    assert kserve.outages == []


def test_promoting_restarts_no_server(driver: sw.World) -> None:
    serve_first(driver)
    driver.port.deploy(MODEL, "8")
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")
    pods = _pod_template(driver, "8")
    sw.roll_out(driver.port, MODEL, "7", "8")
    _gone(driver, "7")
    assert _pod_template(driver, "8") == pods


def test_an_abort_leads_back_before_it_takes_anything_away(
    driver: sw.World, kserve: StandardKServe
) -> None:
    serve_first(driver)
    driver.port.deploy(MODEL, "8")
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")
    give(driver, {"7": 50, "8": 50})
    with pytest.raises(TrafficError, match="50 percent"):
        driver.port.retire(MODEL, "8")
    give(driver, {"7": 100})
    assert spec(driver)["canary"][0]["trafficPercent"] == 0
    sw.insist(
        lambda: driver.port.retire(MODEL, "8"), lambda: set(driver.port.ready(MODEL)) == {"7"}
    )
    _gone(driver, "8")
    assert kserve.outages == []


def test_the_old_version_can_be_gone_back_to_until_it_is_retired(
    driver: sw.World, kserve: StandardKServe
) -> None:
    serve_first(driver)
    driver.port.deploy(MODEL, "8")
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")
    give(driver, {"8": 100})
    assert driver.port.ready(MODEL) == {"7": True, "8": True}
    give(driver, {"7": 100})
    assert kserve.outages == []


def test_servers_come_before_their_share_and_the_stable_version_keeps_its_own(
    quiet: Quiet, place: str, kserve: StandardKServe
) -> None:
    made = world(quiet, place, replicas=3)
    serve_first(made)
    sw.until(lambda: replicas(made, "7"), lambda n: n == 3, "servers of v7")
    made.port.deploy(MODEL, "8")
    sw.until(lambda: made.port.ready(MODEL).get("8"), bool, "readiness")
    sw.until(lambda: replicas(made, "7"), lambda n: n == 3, "servers of v7 beside a dark v8")
    with pytest.raises(Unavailable, match="v8 has 1 of 2 servers"):
        made.port.set_weights(MODEL, {"7": 50, "8": 50})
    in_force(made, {"7": 100})
    give(made, {"7": 50, "8": 50})
    assert (replicas(made, "7"), replicas(made, "8")) == (3, 2)
    give(made, {"8": 100})
    assert (replicas(made, "7"), replicas(made, "8")) == (3, 3)
    sw.insist(lambda: made.port.retire(MODEL, "7"), lambda: set(made.port.ready(MODEL)) == {"8"})
    _gone(made, "7")
    sw.until(lambda: replicas(made, "8"), lambda n: n == 3, "servers of v8")
    assert kserve.outages == []


def test_a_successor_of_a_version_that_broke_down_gets_the_traffic(
    driver: sw.World, quiet: Quiet
) -> None:
    serve_first(driver)
    driver.port.deploy(MODEL, "8")
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")
    driver.break_down("7")
    sw.until(lambda: driver.port.ready(MODEL).get("7"), lambda up: not up, "readiness of v7")
    give(driver, {"8": 100})
    assert spec(driver)["predictor"]["name"] == "v8"


def test_a_first_version_that_never_got_ready_stands_in_nobodys_way(
    driver: sw.World, quiet: Quiet
) -> None:
    quiet.node.fail(driver.namespace, service_name(MODEL, "7"))
    driver.port.deploy(MODEL, "7")
    driver.port.deploy(MODEL, "8")
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")
    give(driver, {"8": 100})
    assert set(driver.port.ready(MODEL)) == {"8"}


def test_a_split_that_the_gateway_has_not_taken_keeps_the_old_version(
    driver: sw.World, quiet: Quiet
) -> None:
    serve_first(driver)
    driver.port.deploy(MODEL, "8")
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")
    quiet.node.hold_routes()
    try:
        driver.port.set_weights(MODEL, {"8": 100})
        sw.until(lambda: driver.port.weights(MODEL), lambda split: split == {}, "an unknown split")
        with pytest.raises(TrafficError, match="has not taken the newest split"):
            driver.port.retire(MODEL, "7")
        assert spec(driver)["predictor"]["name"] == "v7"
    finally:
        quiet.node.release_routes()
    in_force(driver, {"8": 100})


def test_an_edit_by_somebody_else_is_a_conflict_and_then_put_right(driver: sw.World) -> None:
    serve_first(driver)
    driver.port.deploy(MODEL, "8")
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")

    class Meddler:
        """Somebody who is always faster."""

        def __getattr__(self, name: str) -> object:
            return getattr(driver.client, name)

        def patch_json(self, *arguments: Any, **named: Any) -> object:
            body = {"spec": {"predictor": {"timeout": 30}}}
            driver.client.patch_merge(INFERENCE_SERVICE, MODEL, driver.namespace, body)
            return driver.client.patch_json(*arguments, **named)

    with pytest.raises(Conflict):
        driver.make(Meddler()).set_weights(MODEL, {"7": 90, "8": 10})  # type: ignore[arg-type]
    give(driver, {"7": 90, "8": 10})
    assert spec(driver)["predictor"]["timeout"] == 30


def test_a_percent_changed_by_hand_is_seen_and_put_right(driver: sw.World) -> None:
    serve_first(driver)
    driver.port.deploy(MODEL, "8")
    sw.until(lambda: driver.port.ready(MODEL).get("8"), bool, "readiness")
    give(driver, {"7": 90, "8": 10})
    operations = [{"op": "replace", "path": "/spec/canary/0/trafficPercent", "value": 70}]
    driver.client.patch_json(INFERENCE_SERVICE, MODEL, driver.namespace, operations)
    in_force(driver, {"7": 30, "8": 70})
    give(driver, {"7": 90, "8": 10})


def test_a_service_that_somebody_else_made_is_not_touched(driver: sw.World) -> None:
    theirs = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "theirs", "namespace": driver.namespace},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "args": []}}},
    }
    driver.client.create(INFERENCE_SERVICE, theirs, driver.namespace)
    for call in (
        lambda: driver.port.deploy("theirs", "1"),
        lambda: driver.port.ready("theirs"),
        lambda: driver.port.retire("theirs", "1"),
    ):
        with pytest.raises(TrafficError, match="did not make"):
            call()
    driver.client.delete(INFERENCE_SERVICE, "theirs", driver.namespace)


def test_the_only_version_goes_when_nothing_leads_to_it(driver: sw.World) -> None:
    driver.port.deploy(MODEL, "7")
    driver.port.retire(MODEL, "7")
    assert driver.client.get(INFERENCE_SERVICE, MODEL, driver.namespace) is None


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_a_rollout_killed_at_any_write_ends_in_the_same_place(
    quiet: Quiet, place: str, kserve: StandardKServe, at: int, done: bool
) -> None:
    made = world(quiet, place, replicas=2)
    serve_first(made)
    mortal: KubeClient = sw.Mortal(made.client, at, done=done)  # type: ignore[assignment]
    with pytest.raises(sw.Killed):
        sw.roll_out(made.make(mortal), MODEL, "7", "8")
    sw.roll_out(made.reopen(), MODEL, "7", "8")
    _gone(made, "7")
    assert spec(made)["predictor"]["name"] == "v8"
    assert spec(made)["predictor"]["minReplicas"] == 2
    assert "canary" not in spec(made)
    in_force(made, {"8": 100})
    assert kserve.outages == []


def _pod_template(made: sw.World, version: str) -> Any:
    found = made.client.get(DEPLOYMENT, service_name(MODEL, version), made.namespace)
    assert found is not None
    return found["spec"]["template"]


def _gone(made: sw.World, version: str) -> None:
    name = service_name(MODEL, version)
    sw.until(
        lambda: made.client.get(DEPLOYMENT, name, made.namespace),
        lambda found: found is None,
        f"the Deployment of v{version}",
    )
