"""A crash at any port call, before or after its effect, then a restart: the same end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.loop import ledger
from noria.loop.engine import Engine
from noria.loop.fakes import FakeWorld
from noria.loop.state import Decision
from noria.loop.values import Verb, Verdict
from noria.spec import Model


class Crash(BaseException):
    """The process dies here; nothing in the engine may catch it."""


class Countdown:
    """Counts port calls of all ports together and dies at the chosen ones."""

    def __init__(self, at: dict[int, str]) -> None:
        self.at = at
        self.calls = 0

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        when = self.at.get(self.calls)
        if when == "before":
            raise Crash
        result = function(*args, **kwargs)
        if when == "after":
            raise Crash
        return result


class Fragile:
    """A port whose calls may be the last of the process."""

    def __init__(self, port: Any, countdown: Countdown) -> None:
        self._port = port
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return lambda *args, **kwargs: self._countdown.call(found, *args, **kwargs)


class FragileWorld(FakeWorld):
    def __init__(self, model: Model, at: dict[int, str] | None = None) -> None:
        super().__init__(model)
        self.countdown = Countdown(at or {})

    def engine(self) -> Engine:
        def fragile(port: Any) -> Any:
            return Fragile(port, self.countdown)

        return Engine(
            self.model,
            pipelines=fragile(self.pipelines),
            registry=fragile(self.registry),
            traffic=fragile(self.traffic),
            metrics=fragile(self.metrics),
            store=fragile(self.store),
            clock=self.clock,
            alerts=fragile(self.alerts),
        )

    def cycle(self, times: int = 1, *, every: timedelta = timedelta(seconds=40)) -> Decision:
        for _ in range(times):
            while True:
                try:
                    decision = self.engine().cycle().decision
                except Crash:
                    continue
                break
            self.clock.advance(every)
        return decision


def life(world: FakeWorld) -> None:
    """From nothing to v1; v2 wins; v3 fails its canary; v4 its gates; v5 is taken back by hand."""
    world.cycle(2)
    world.finish_run("1")
    world.cycle(6)
    for version, auc in (("2", 0.72), ("3", 0.5)):
        world.clock.advance(timedelta(days=8))
        world.signal(f"drift-{version}")
        world.cycle(2)
        world.finish_run(version)
        world.cycle(4)
        world.answer("1", 4000, error_rate=0.0, auc=0.7)
        world.answer("2", 4000, error_rate=0.0, auc=0.72)
        world.answer(version, 600, error_rate=0.0, auc=auc)
        world.cycle(10)
    world.clock.advance(timedelta(days=8))
    world.signal("drift-4")
    world.cycle(2)
    world.finish_run("4", gates=world.gates(Verdict.FAIL))
    world.cycle(3)
    world.tell(Verb.TRAIN, key="train")
    world.cycle(2)
    world.finish_run("5")
    world.cycle(4)
    world.tell(Verb.PAUSE, key="pause")
    world.cycle(2)
    world.tell(Verb.ABORT, key="abort")
    world.cycle(5)
    world.clock.advance(timedelta(days=8))
    world.signal("drift-6")
    world.cycle(3)
    world.tell(Verb.RESET_BREAKER, key="reset")
    world.cycle(3)


def picture(world: FakeWorld) -> dict[str, Any]:
    """Everything that the world can tell about what the loop did to it."""
    store = world.store
    stored = store.load("flights")
    assert stored is not None
    state = stored.state
    ledger.verify(store.entries("flights"), state.head)
    return {
        "champion": world.champion,
        "moves": world.registry.moves,
        "splits": world.traffic.splits,
        "deployed": world.traffic.ready("flights"),
        "runs": list(world.pipelines.requests.values()),
        "outcomes": [(o.version, o.result, o.champion) for o in state.outcomes],
        "breaker": state.breaker is not None,
        "losses": state.losses,
        "outbox": list(state.outbox),
        "alerts": sorted(name for _, name in world.alerts.standing),
        "inbox": store.inbox("flights"),
    }


@pytest.fixture(scope="module")
def undisturbed(model: Callable[..., Model]) -> tuple[dict[str, Any], int]:
    world = FragileWorld(model())
    life(world)
    return picture(world), world.countdown.calls


def test_the_undisturbed_life_is_the_one_that_is_meant(
    undisturbed: tuple[dict[str, Any], int],
) -> None:
    seen, _ = undisturbed
    assert seen["champion"] == "2"
    assert seen["splits"] == [
        {"1": 100},
        {"1": 90, "2": 10},
        {"1": 50, "2": 50},
        {"2": 100},
        {"2": 90, "3": 10},
        {"2": 100},
        {"2": 90, "5": 10},
        {"2": 100},
    ]
    assert seen["deployed"] == {"2": True}
    assert [v for v, _, _ in seen["outcomes"]] == ["1", "2", "3", "4", "5"]
    assert len(seen["runs"]) == 6
    assert not seen["breaker"]
    assert seen["alerts"] == []


@pytest.mark.slow
def test_a_crash_at_any_call_changes_nothing_in_the_end(
    model: Callable[..., Model], undisturbed: tuple[dict[str, Any], int]
) -> None:
    """A crash before a call finds the world as one after the call before it leaves it."""
    wanted, calls = undisturbed
    spec = model()
    for crash in ({1: "before"}, *({at: "after"} for at in range(1, calls + 1))):
        world = FragileWorld(spec, crash)
        life(world)
        assert picture(world) == wanted, crash


@given(
    crashes=st.dictionaries(
        st.integers(1, 700), st.sampled_from(["before", "after"]), min_size=2, max_size=40
    )
)
@settings(max_examples=60)
def test_many_crashes_change_nothing_in_the_end(
    crashes: dict[int, str], model: Callable[..., Model], undisturbed: tuple[dict[str, Any], int]
) -> None:
    world = FragileWorld(model(), crashes)
    life(world)
    assert picture(world) == undisturbed[0]
