"""The operator walks a Model from training to the champion, on a real API server."""

from __future__ import annotations

import pytest

from tests.cluster.operating import World, resource

pytestmark = [
    pytest.mark.cluster,
    # MLflow registers in this process, and SQLAlchemy has news for it.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def watch_splits(world: World, name: str, seen: list[dict[str, int]]) -> None:
    """Note a split of the gateway's route when it is another one."""
    split = world.split(name)
    if split and (not seen or seen[-1] != split):
        seen.append(split)


def walk(world: World, name: str, version: str, seen: list[dict[str, int]]) -> None:
    """Wait until a version is champion and the rollout over; note each split on the way."""

    def there() -> bool:
        watch_splits(world, name, seen)
        state = world.state(name)
        over = state.rollout is None and not state.outbox
        return state.champion == version and over and world.services(name) == [f"{name}-v{version}"]

    world.until(there, f"v{version} of {name} is the champion, alone", 240)


def test_a_model_is_trained_served_rolled_out_and_a_bad_candidate_aborted(world: World) -> None:
    world.start()
    world.wait_watching()
    world.apply(resource("flights"))
    seen: list[dict[str, int]] = []
    first = world.train("flights")
    walk(world, "flights", first, seen)

    world.command("flights", "train")
    second = world.train("flights")
    walk(world, "flights", second, seen)
    one, two = f"v{first}", f"v{second}"
    assert seen == [{one: 100}, {one: 90, two: 10}, {one: 50, two: 50}, {two: 100}]
    world.until(
        lambda: (
            world.status("flights").get("champion") == second
            and world.status("flights")["stage"] == "serving"
        ),
        "the status says so",
    )
    status = world.status("flights")
    assert status["weights"] == [{"version": second, "percent": 100}]
    assert status["candidate"] == ""
    assert status["printed"]["verdict"].startswith(f"v{second} promoted")
    assert status["observedGeneration"] == 1
    assert world.condition("flights", "Ready")["status"] == "True"
    assert world.condition("flights", "Progressing")["reason"] == "NoRollout"

    third = str(int(second) + 1)
    world.traffic.failing.add(("flights", third))
    world.command("flights", "train")
    assert world.train("flights") == third
    world.until(
        lambda: [o.result for o in world.state("flights").outcomes if o.version == third],
        "v3 has ended",
    )
    world.until(lambda: world.services("flights") == [f"flights-{two}"], "v3 is retired")
    assert world.state("flights").outcomes[-1].result == "aborted"
    assert world.registry.alias("flights", "champion") == second
    assert world.split("flights") == {two: 100}
    world.until(
        lambda: "aborted" in world.status("flights")["printed"]["verdict"],
        "the status tells the abort",
    )
    assert "error-rate" in world.why("flights")
    assert len(world.runs("flights")) == 3
    told = world.cluster.kubectl("get", "events", f"--namespace={world.namespace}")
    assert "model/flights" in told.lower()
    world.verify("flights")
    assert world.denied() == 0
    assert world.terminate() == 0


@pytest.mark.timeout(600)
def test_an_operator_killed_around_each_act_ends_in_the_same_place(world: World) -> None:
    world.start_dying()
    world.apply(resource("flights"))
    seen: list[dict[str, int]] = []
    first = world.train("flights")
    walk(world, "flights", first, seen)
    world.command("flights", "train")
    second = world.train("flights")
    walk(world, "flights", second, seen)
    splits = (
        f"{first}=100",
        f"{first}=90 {second}=10",
        f"{first}=50 {second}=50",
        f"{second}=100",
    )
    expected = {
        *(f"before any {kind}" for kind in ("start", "deploy", "weights", "alias", "retire")),
        *(f"after start {number}" for number in (1, 2)),
        *(f"after deploy {version}" for version in (first, second)),
        *(f"after weights {split}" for split in splits),
        *(f"after alias {version}" for version in (first, second)),
        f"after retire {first}",
    }
    assert expected <= world.died()
    one, two = f"v{first}", f"v{second}"
    assert seen == [{one: 100}, {one: 90, two: 10}, {one: 50, two: 50}, {two: 100}]
    runs = world.runs("flights")
    assert len(runs) == len(set(runs)) == 2
    assert world.registry.alias("flights", "champion") == second
    assert len(world.registry.versions("flights")) == 2
    assert world.services("flights") == [f"flights-{two}"]
    assert [o.result for o in world.state("flights").outcomes] == ["promoted", "promoted"]
    world.verify("flights")
