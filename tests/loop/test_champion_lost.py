"""A champion that the registry no longer names: taken away by a person, or lost."""

from __future__ import annotations

from noria.loop.champion import GONE_ALERT
from noria.loop.fakes import FakeRegistry, FakeWorld
from noria.loop.ports import CHAMPION
from noria.loop.state import Result, RolloutPhase
from noria.loop.values import Verb


def _alerts(world: FakeWorld) -> dict[str, str]:
    return {alert.name: alert.text for alert in world.state.alerts}


def _shares(world: FakeWorld) -> dict[str, int]:
    return {v: weight for v, weight in world.traffic.weights(world.name).items() if weight}


def test_an_alias_that_a_person_takes_away_is_followed_and_told(world: FakeWorld) -> None:
    world.registry.set_alias(world.name, CHAMPION, None, expected="1")
    world.cycle(2)
    assert world.state.champion is None
    assert "the registry names none now" in _alerts(world)[GONE_ALERT]

    world.registry.set_alias(world.name, CHAMPION, "1", expected=None)
    world.cycle(2)
    assert world.state.champion == "1"
    assert GONE_ALERT not in _alerts(world)


def test_a_registry_that_lost_the_champion_is_not_believed_and_named(world: FakeWorld) -> None:
    whole = world.registry
    world.registry = FakeRegistry()
    decision = world.cycle(3)

    assert world.state.champion == "1"
    assert _shares(world) == {"1": 100}
    said = " ".join(note.text for note in decision.explanation)
    assert "the registry can't be seen: the registry has lost v1" in said
    assert "put a backup of the registry in its place" in _alerts(world)[GONE_ALERT]

    world.registry = whole
    world.cycle(2)
    assert world.state.champion == "1"
    assert GONE_ALERT not in _alerts(world)


def test_no_run_starts_while_the_champion_is_lost(world: FakeWorld) -> None:
    world.registry = FakeRegistry()
    world.tell(Verb.TRAIN)
    world.cycle(3)
    assert world.pipelines.running() == ()


def test_a_rollout_neither_ends_nor_promotes_while_the_champion_is_lost(world: FakeWorld) -> None:
    world.tell(Verb.TRAIN)
    world.cycle(2)
    world.finish_run("2")
    world.cycle(3)
    before = world.state.rollout
    assert before is not None
    assert before.phase is RolloutPhase.STEPPING

    whole = world.registry
    world.registry = FakeRegistry()
    world.tell(Verb.PROMOTE)
    world.cycle(10)
    assert world.state.champion == "1"
    assert world.state.rollout is not None
    assert world.state.outcomes == ()

    world.registry = whole
    world.cycle(20)
    assert world.champion == "2"
    assert [outcome.result for outcome in world.state.outcomes] == [Result.PROMOTED]


def test_another_version_can_be_made_champion_in_place_of_a_lost_one(world: FakeWorld) -> None:
    world.registry = FakeRegistry()
    world.cycle(2)
    world.register("7")
    world.registry.set_alias(world.name, CHAMPION, "7", expected=None)
    world.cycle(3)
    assert world.state.champion == "7"
    assert _shares(world) == {"7": 100}
    assert GONE_ALERT not in _alerts(world)
