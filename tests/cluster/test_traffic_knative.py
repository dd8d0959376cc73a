"""KServe's Knative mode: two versions at once, one step of history, on the real API server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from noria.errors import TrafficError, Unavailable
from noria.kube import KubeClient
from noria.kube.kinds import INFERENCE_SERVICE
from noria.loop.conformance import TrafficConformance
from serving.traffic.kserve_knative import REVISION, KServeKnativeTraffic
from tests.cluster import knative_standin, quiet_plane
from tests.cluster import serving_world as sw
from tests.cluster.knative_standin import Knative
from tests.cluster.quiet_plane import Quiet

MODEL = "flights"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quiet]:
    with quiet_plane.start(tmp_path_factory.mktemp("knative")) as started:
        knative_standin.install(started.client)
        sw.until(lambda: started.client.has_kind(REVISION), bool, "Knative's kinds")
        yield started


@pytest.fixture
def place(quiet: Quiet) -> str:
    return quiet.namespace(f"knative-{secrets.token_hex(3)}")


@pytest.fixture
def knative(quiet: Quiet, place: str) -> Iterator[Knative]:
    with Knative.start(quiet.client, place) as played:
        yield played


@pytest.fixture
def driver(quiet: Quiet, place: str, knative: Knative) -> sw.World:
    return sw.World(
        lambda made: KServeKnativeTraffic(made, place, sw.resolve, sw.options()),
        quiet.client,
        MODEL,
        place,
        knative.failing.add,
    )


class TestKnativeTraffic(TrafficConformance):
    pass


def up(made: sw.World, version: str) -> None:
    sw.insist(
        lambda: made.port.deploy(MODEL, version), lambda: made.port.ready(MODEL).get(version, False)
    )


def give(made: sw.World, split: dict[str, int]) -> None:
    sw.insist(
        lambda: made.port.set_weights(MODEL, split), lambda: sw.is_split(made.port, MODEL, split)
    )


def versions_routed(made: sw.World, knative: Knative) -> list[dict[str, int]]:
    """Return every split that was ever in force, by version."""
    names = {
        revision["metadata"]["name"]: revision["metadata"]["labels"]["noria.dev/version"]
        for revision in made.client.list(REVISION, made.namespace)
    }
    splits = []
    for routed in knative.routed:
        split: dict[str, int] = {}
        for revision, share in routed.items():
            split[names[revision]] = split.get(names[revision], 0) + share
        splits.append(split)
    return splits


def test_a_rollout_ends_without_a_percent(driver: sw.World, knative: Knative) -> None:
    up(driver, "7")
    give(driver, {"7": 100})
    sw.roll_out(driver.port, MODEL, "7", "8")
    found = driver.client.get(INFERENCE_SERVICE, MODEL, driver.namespace)
    assert found is not None
    assert "canaryTrafficPercent" not in found["spec"]["predictor"]
    assert found["spec"]["predictor"]["model"]["storageUri"] == "models:/flights/8"
    assert versions_routed(driver, knative) == [
        {"7": 100},
        {"7": 90, "8": 10},
        {"7": 50, "8": 50},
        {"8": 100},
    ]


def test_an_aborted_version_never_gets_traffic_again(driver: sw.World, knative: Knative) -> None:
    up(driver, "7")
    give(driver, {"7": 100})
    up(driver, "8")
    give(driver, {"7": 50, "8": 50})
    give(driver, {"7": 100})
    with pytest.raises(Unavailable, match="a revision of its own"):
        driver.port.retire(MODEL, "8")
    assert "8" not in driver.port.ready(MODEL)
    found = driver.client.get(INFERENCE_SERVICE, MODEL, driver.namespace)
    assert found is not None
    sw.insist(
        lambda: driver.port.retire(MODEL, "8"),
        lambda: "canaryTrafficPercent" not in _predictor(driver),
    )
    assert _predictor(driver)["model"]["storageUri"] == "models:/flights/7"  # type: ignore[index]
    sw.until(lambda: sw.is_split(driver.port, MODEL, {"7": 100}), bool, "the split")
    routed = versions_routed(driver, knative)
    assert all(split == {"7": 100} for split in routed[routed.index({"7": 50, "8": 50}) + 1 :])
    sw.roll_out(driver.port, MODEL, "7", "9")


def test_the_old_version_can_be_gone_back_to_until_it_is_retired(driver: sw.World) -> None:
    up(driver, "7")
    give(driver, {"7": 100})
    up(driver, "8")
    give(driver, {"8": 100})
    sw.until(lambda: driver.port.ready(MODEL), lambda r: r == {"7": True, "8": True}, "versions")
    give(driver, {"7": 100})


def test_there_is_no_room_for_a_third_version_with_traffic(driver: sw.World) -> None:
    up(driver, "7")
    give(driver, {"7": 100})
    up(driver, "8")
    give(driver, {"7": 50, "8": 50})
    with pytest.raises(TrafficError, match="room for two versions"):
        driver.port.deploy(MODEL, "9")


def test_a_first_version_that_never_got_ready_is_replaced(
    driver: sw.World, knative: Knative
) -> None:
    knative.failing.add("7")
    driver.port.deploy(MODEL, "7")
    up(driver, "8")
    give(driver, {"8": 100})
    assert driver.port.ready(MODEL) == {"8": True}


def test_a_split_that_knative_has_not_made_is_not_in_force(
    driver: sw.World, knative: Knative
) -> None:
    up(driver, "7")
    give(driver, {"7": 100})
    up(driver, "8")
    knative.held = True
    driver.port.set_weights(MODEL, {"7": 10, "8": 90})
    assert sw.is_split(driver.port, MODEL, {"7": 100})
    knative.held = False
    sw.until(lambda: sw.is_split(driver.port, MODEL, {"7": 10, "8": 90}), bool, "the split")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_rollout_killed_at_any_write_ends_in_the_same_place(
    driver: sw.World, at: int, done: bool
) -> None:
    up(driver, "7")
    give(driver, {"7": 100})
    mortal: KubeClient = sw.Mortal(driver.client, at, done=done)  # type: ignore[assignment]
    with pytest.raises(sw.Killed):
        sw.roll_out(driver.make(mortal), MODEL, "7", "8")
    sw.roll_out(driver.reopen(), MODEL, "7", "8")
    assert "canaryTrafficPercent" not in _predictor(driver)
    assert driver.port.ready(MODEL) == {"8": True}
    sw.until(lambda: sw.is_split(driver.port, MODEL, {"8": 100}), bool, "the split")


def _predictor(made: sw.World) -> dict[str, object]:
    found = made.client.get(INFERENCE_SERVICE, MODEL, made.namespace)
    assert found is not None
    content: dict[str, object] = found["spec"]["predictor"]
    return content
