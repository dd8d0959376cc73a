"""Homes in every state that a loop can be in, and the pages over them on a real port."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import yaml

from noria.asgi import Hosts, Listen, background
from noria.embedded.home import Home
from noria.loop.fakes import FakeTraffic, FakeWorld, sample_model
from noria.loop.sqlite_store import SqliteStore
from noria.loop.values import GateResult, Verb, Verdict
from noria.places import Place as Shown
from noria.registry.sqlite_catalog import REVISION
from noria.spec import Model, load_model
from noria.ui.app import Options, Ui
from noria.ui.security import Guard

TOKEN = "a-token-of-32-characters-or-more!"  # noqa: S105 - of the tests
HIDDEN = re.compile(r'name="(id|token)" value="([^"]*)"')


@dataclass
class Place:
    """A home whose models are driven by hand, through the real engine and the real store."""

    home: Home
    worlds: dict[str, FakeWorld] = field(default_factory=dict)

    def model(self, name: str = "flights") -> Model:
        document = sample_model().model_dump(mode="json", by_alias=True, exclude_unset=True)
        document["metadata"] = {"name": name}
        path = self.home.root / "files" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(document))
        model = load_model(path)
        self.home.remember(model, path, "event")
        return model

    def world(self, name: str = "flights", *, prompt: bool = True) -> FakeWorld:
        traffic = FakeTraffic(prompt=prompt)
        if not self.home.database.exists():
            # A champion whose registry is gone would be in trouble.
            with closing(sqlite3.connect(self.home.database)) as registry:
                registry.execute(
                    "CREATE TABLE alembic_version AS SELECT ? AS version_num", (REVISION,)
                )
                registry.commit()
        store = SqliteStore(self.home.store)
        self.worlds[name] = FakeWorld(self.model(name), store=store, traffic=traffic)
        return self.worlds[name]


def gates(gain: float, verdict: Verdict = Verdict.PASS) -> tuple[GateResult, ...]:
    return (
        GateResult("auc-bound", Verdict.PASS, "", 0.71, 0.55, 5000),
        GateResult("auc-champion", verdict, f"gain {gain}", gain, 0.0, 5000),
    )


def serving(world: FakeWorld) -> None:
    world.install("1")


def training(world: FakeWorld) -> None:
    serving(world)
    world.tell(Verb.TRAIN, reason="new depot")
    world.cycle(2)


def deploying(world: FakeWorld) -> None:
    training(world)
    world.traffic.make_ready(world.name, "1")
    world.finish_run("2", gates=gates(0.012))
    world.cycle(2)


def canary(world: FakeWorld) -> None:
    deploying(world)
    world.traffic.make_ready(world.name, "2")
    world.cycle(2)
    for version in ("1", "2"):
        world.answer(version, 900, error_rate=0.001, auc=0.71)
    world.cycle(2)
    world.metrics.forget()  # the second step waits for its own rows


def paused(world: FakeWorld) -> None:
    canary(world)
    world.tell(Verb.PAUSE, reason="holidays")
    world.cycle()


def promoting(world: FakeWorld) -> None:
    canary(world)
    world.tell(Verb.PROMOTE, reason="looks good")
    world.cycle()


def aborting(world: FakeWorld) -> None:
    canary(world)
    world.traffic.break_down(world.name, "1")
    world.tell(Verb.ABORT, reason="looks bad")
    world.cycle()


def no_version(world: FakeWorld) -> None:
    world.cycle(2)
    (run,) = world.pipelines.running()
    world.pipelines.fail(run, "step validate: column 'plan' is missing")
    world.cycle(2)


def breaker(world: FakeWorld) -> None:
    serving(world)
    world.metrics.labels_a_day = 0.0  # new rows would close it
    for version in ("2", "3", "4"):
        world.clock.advance(timedelta(days=8))
        world.tell(Verb.TRAIN, reason="look again")
        world.cycle(2)
        world.finish_run(version, gates=gates(-0.01, Verdict.FAIL))
        world.cycle(3)


STATES: dict[str, Callable[[FakeWorld], None]] = {
    "no-version": no_version,
    "training": training,
    "serving": serving,
    "deploying": deploying,
    "canary": canary,
    "promoting": promoting,
    "aborting": aborting,
}


@contextmanager
def running(
    shown: Shown, *, token: str | None = None, options: Options | None = None
) -> Iterator[httpx.Client]:
    """Serve the pages on a free port of loopback, as ``noria ui`` does."""
    pages = Ui(shown, Guard(token, time.time), options or Options(person="ann"))
    listen = Listen()
    gate = pages.gate(Hosts(listen.host, anybody=token is not None))
    with (
        listen.bind() as listener,
        background(gate, listener),
        httpx.Client(base_url=listen.url(listener), timeout=60) as client,
    ):
        yield client


def origin(client: httpx.Client) -> dict[str, str]:
    return {"origin": str(client.base_url).rstrip("/")}


def form(client: httpx.Client, model: str, verb: str) -> dict[str, str]:
    """Load a confirmation and fill it in."""
    page = client.get(f"/models/{model}/do/{verb}")
    assert page.status_code == 200, page.text
    return {**dict(HIDDEN.findall(page.text)), "name": "ann", "reason": "because"}


def send(client: httpx.Client, model: str, verb: str, fields: dict[str, str]) -> httpx.Response:
    return client.post(f"/models/{model}/do/{verb}", data=fields, headers=origin(client))
