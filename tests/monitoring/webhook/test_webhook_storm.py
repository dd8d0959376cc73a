"""Ten thousand deliveries in disorder start exactly the runs that policy allows.

Two senders tell of two months of alerts about three models: duplicated by an HA pair,
resent, late, reordered, in groups, cut off, resolved before or after. The receiver
dies within deliveries, its store fails, the loop dies at any call of a port. Beside it
runs a quiet twin: the same loops, told of each episode once, directly, when it was
first heard of. Both must end with the same runs; and the books kept here, from the
requests alone, must agree with the policy.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from monitoring.webhook.judge import message_of
from monitoring.webhook.payload import read_delivery
from noria.errors import StoreError
from noria.loop import ledger
from noria.loop.engine import Engine
from noria.loop.fakes import FakeClock, FakeMetrics, FakeWorld, MemoryStore, sample_model
from noria.loop.ports import Store
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State
from noria.loop.values import Signal, Verb, Verdict
from noria.spec import Model

if TYPE_CHECKING:
    from conftest import Post, Senders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DELIVERIES = 10_000
MODELS = ("flights", "parcels", "fraud")
COOLDOWN, DAY, PERIOD, BUDGET = timedelta(days=3), timedelta(days=1), timedelta(days=30), 5
TRAINING = timedelta(hours=6)
TICK = timedelta(hours=2)


class Crash(BaseException):
    """The process dies here; nothing may catch it."""


@dataclass
class Fate:
    """Decides, from a seed, which call is the last of a process, or fails."""

    random: random.Random
    often: float = 0.0
    failing: float = 0.0
    crashes: int = 0
    failures: int = 0

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        when = self.random.random()
        if when < self.often / 2:
            self.crashes += 1
            raise Crash
        if when > 1 - self.failing:
            self.failures += 1
            raise StoreError("the disk is slow today")
        result = function(*args, **kwargs)
        if when < self.often:
            self.crashes += 1
            raise Crash
        return result


class Fragile:
    """A port whose calls go by a fate."""

    def __init__(self, port: Any, fate: Fate) -> None:
        self._port, self._fate = port, fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return lambda *args, **kwargs: self._fate.call(found, *args, **kwargs)


def a_model(name: str) -> Model:
    model = sample_model(
        retraining={
            "signals": ["drift", "performance"],
            "cooldown": f"{COOLDOWN.days}d",
            "runsPerDay": 1,
            "budget": {"runs": BUDGET, "per": f"{PERIOD.days}d"},
            "giveUpAfter": 3,
        },
        serving={
            "canary": {
                "steps": [50],
                "minSamples": 500,
                "analysis": [{"metric": "error-rate", "max": 0.01}],
            }
        },
    )
    return model.model_copy(update={"metadata": model.metadata.model_copy(update={"name": name})})


class World(FakeWorld):
    """A loop whose process may die at any call, until its fate changes."""

    def __init__(self, name: str, store: Store, clock: FakeClock, fate: Fate) -> None:
        self.fate = Fate(random.Random(0))
        super().__init__(a_model(name), store=store)
        self.clock = clock
        self.metrics = FakeMetrics(clock, labels_a_day=86_400)
        self.install("1")
        self.made = 1
        self.fate = fate

    def engine(self) -> Engine:
        def fragile(port: Any) -> Any:
            return Fragile(port, self.fate)

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

    def install(self, version: str = "1") -> None:
        self.register(version)
        self.registry.set_alias(self.name, "champion", version, expected=None)
        self.traffic.deploy(self.name, version)
        self.traffic.make_ready(self.name, version)
        self.turn()

    @property
    def now_state(self) -> State:
        stored = self.store.load(self.name)
        return State(self.name) if stored is None else stored.state

    def turn(self) -> None:
        """Let the loop come to rest, however often its process dies meanwhile."""
        quiet = 0
        while quiet < 2:
            before = self.now_state
            try:
                self.engine().cycle()
            except Crash:
                quiet = 0
                continue
            quiet = quiet + 1 if self.now_state == before else 0

    def train(self) -> None:
        """End a run that has taken its time: three of four candidates lose at their gates."""
        for run_id in self.pipelines.running():
            if self.clock.now() - self.pipelines.requests[run_id].as_of >= TRAINING:
                self.made += 1
                good = self.made % 4 == 0
                verdict = Verdict.PASS if good else Verdict.FAIL
                self.answer(str(self.made), 5000, error_rate=0.0)
                self.finish_run(str(self.made), gates=self.gates(verdict))
        state = self.now_state
        if state.breaker is not None and self.clock.now() - state.breaker.opened > DAY * 4:
            self.tell(Verb.RESET_BREAKER, key=f"reset-{state.breaker.opened:%s}")


@dataclass(order=True)
class Due:
    """A body on its way."""

    at: datetime
    number: int
    body: dict[str, Any] = field(compare=False)


class Storm:
    """Makes episodes, and of each the deliveries that two senders make of it."""

    def __init__(self, seed: int, senders: type[Senders]) -> None:
        self.random = random.Random(seed)
        self.senders = senders
        self.due: list[Due] = []
        self.count = itertools.count()
        self.episodes = 0

    def episode(self, now: datetime, champion: Callable[[str], str | None]) -> None:
        """Begin a group of alerts; its resends come for hours, in any order."""
        chance = self.random
        self.episodes += 1
        name = chance.choice([*MODELS, *MODELS, *MODELS, "nobody"])
        alerts = [
            self._alert(now, name, champion(name) if name in MODELS else "1")
            for _ in range(chance.choice([1, 1, 1, 2, 4]))
        ]
        over = [
            {**alert, "status": "resolved", "endsAt": (now + DAY).isoformat()} for alert in alerts
        ]
        wrap = chance.choice([self.senders.alertmanager, self.senders.grafana])
        truncated = chance.choice([0] * 20 + [3])
        for copy in range(chance.choice([2, 6, 12, 24])):
            mixed = [chance.choice(pair) for pair in zip(alerts, over, strict=True)]
            told = chance.choice([alerts, alerts, alerts, mixed, over, alerts[::-1]])
            late = timedelta(minutes=chance.choice([0, 0, 1, 5]) + copy * chance.choice([0, 30]))
            # Both of an HA pair notify.
            for _ in range(chance.choice([1, 2])):
                self.send(now + late, wrap(told, truncated=truncated))

    def send(self, at: datetime, body: dict[str, Any]) -> None:
        heapq.heappush(self.due, Due(at, next(self.count), body))

    def until(self, now: datetime) -> Iterator[dict[str, Any]]:
        while self.due and self.due[0].at <= now:
            yield heapq.heappop(self.due).body

    def _alert(self, now: datetime, model: str, champion: str | None) -> dict[str, Any]:
        chance = self.random
        labels = {
            "alertname": chance.choice(["NoriaDrift", "NoriaDrift", "DatasourceNoData"]),
            "model": model,
            "detector": chance.choice(["features", "prediction", "joint"]),
        }
        kind = chance.choice(["drift", "drift", "performance", "quality", "manual", ""])
        version = chance.choice([champion, champion, champion, "0", ""])
        labels |= {"noria_signal": kind} if kind else {}
        labels |= {"version": version} if version else {}
        began = now - timedelta(minutes=chance.choice([0, 0, 1, 60, 60 * 24 * 5, -10]))
        return self.senders.alert(labels, began)


class Twin:
    """Three quiet loops, told of each episode once and directly."""

    def __init__(self, clock: FakeClock) -> None:
        store = MemoryStore()
        calm = Fate(random.Random(0))
        self.worlds = {name: World(name, store, clock, calm) for name in MODELS}
        self.heard: set[tuple[str, str]] = set()

    def hear(self, body: bytes, now: datetime) -> None:
        delivery = read_delivery(body)
        for alert in delivery.alerts:
            world = self.worlds.get(alert.labels["model"])
            message = message_of(alert, delivery.source, now)
            if world is None or (world.name, message.id) in self.heard:
                continue
            self.heard.add((world.name, message.id))
            if isinstance(message, Signal):
                world.store.submit(world.name, message)


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what is tried here is disorder, no power cut."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("seed", [1])
async def test_ten_thousand_deliveries_start_exactly_the_runs_that_policy_allows(
    seed: int, fast_folder: Path, post: Post, senders: type[Senders]
) -> None:
    clock = FakeClock()
    store = SqliteStore(fast_folder / "storm.db")
    loops = Fate(random.Random(seed), often=0.004)
    worlds = {name: World(name, store, clock, loops) for name in MODELS}
    twin = Twin(clock)
    door = Fate(random.Random(seed + 1), often=0.01, failing=0.01)
    storm = Storm(seed, senders)
    receiver = type(post)(Fragile(store, door), clock)
    sent = 0
    while sent < DELIVERIES:
        clock.advance(TICK)
        now = clock.now()
        for _ in range(storm.random.choice([0, 1, 1, 2, 3])):
            storm.episode(now, lambda name: worlds[name].champion)
        for body in storm.until(now):
            sent += 1
            twin.hear(json.dumps(body).encode(), now)
            while True:
                try:
                    answer = await receiver(body)
                except Crash:  # the sender has no answer: a new process gets it again
                    receiver = type(post)(Fragile(store, door), clock)
                    continue
                if answer.status_code == 200:
                    break
                assert answer.status_code == 503
        for each in (*worlds.values(), *twin.worlds.values()):
            each.train()
            each.turn()
    assert _kept(fast_folder / "storm.db") == sorted(twin.heard)
    for name, world in worlds.items():
        _the_books_agree(world)
        quiet = twin.worlds[name]
        assert _runs(world) == _runs(quiet)
        assert world.champion == quiet.champion
        assert store.inbox(name) == ()
        ledger.verify(store.entries(name), world.now_state.head)
    runs = sum(len(world.pipelines.requests) for world in worlds.values())
    print(
        f"\n{sent} deliveries of {storm.episodes} groups in {clock.now() - FakeClock().now()}: "
        f"{runs} runs; the receiver died {door.crashes} times and its store failed "
        f"{door.failures} times, the loops died {loops.crashes} times"
    )
    assert runs >= 15
    assert door.crashes > 100
    assert loops.crashes > 50


def _kept(path: Path) -> list[tuple[str, str]]:
    """Return model and id of every alert that was ever taken in."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT model, id FROM inbox WHERE id LIKE 'alert-%'")
        return sorted(found.fetchall())


def _runs(world: World) -> list[tuple[str, datetime, str]]:
    return [(r.run_id, r.as_of, r.reason) for r in world.pipelines.requests.values()]


def _the_books_agree(world: World) -> None:
    """Check the limits of the policy on what was really started."""
    runs = list(world.pipelines.requests.values())
    for index, run in enumerate(runs):
        earlier = [before.as_of for before in runs[:index]]
        assert all(run.as_of - at >= COOLDOWN for at in earlier)
        assert sum(run.as_of - at < DAY for at in earlier) < 1
        assert sum(run.as_of - at < PERIOD for at in earlier) < BUDGET
        assert "alert NoriaDrift" in run.reason
        assert not any(word in run.reason for word in ("quality", "manual", "Datasource"))
    assert len(world.pipelines.running()) <= 1
    said = ledger.why(world.store.entries(world.name), kind="notice")
    assert any("it is over" in line for line in said)
    assert any("no data is not a change" in line for line in said)
