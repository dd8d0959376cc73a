"""Coming up and going down: what is refused, what is found again, what is asked for."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noria import embedded
from noria.clocks import WallClock
from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.system import System
from noria.errors import InvalidInput, MonitoringError, RegistryError, SpecError
from noria.files import write_json
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import RunKind, RunRecord, State
from noria.loop.values import Command, RunPhase, Verb
from noria.places.machine import Machine
from noria.spec import load_model


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    embedded.down(made.root)


def said(_: str) -> None:
    """Nobody listens."""


def test_a_home_without_models_has_nothing_to_bring_up(home: Home) -> None:
    with pytest.raises(InvalidInput, match="no model is known in"):
        embedded.up(home.root, [], said)
    assert not home.supervisor.exists()


def test_two_files_that_describe_one_model_are_refused(home: Home, parcels: Path) -> None:
    other = parcels.parent.parent / "other" / "model.yaml"
    shutil.copytree(parcels.parent, other.parent)
    with pytest.raises(InvalidInput, match=r"both describe a model named 'parcels'"):
        embedded.up(home.root, [parcels, other], said)


def test_a_known_model_whose_file_went_bad_is_told_before_anything_starts(
    home: Home, parcels: Path
) -> None:
    home.create().remember(load_model(parcels), parcels)
    parcels.write_text("kind: Model")
    with pytest.raises(SpecError):
        embedded.up(home.root, [], said)


def test_a_home_is_supervised_by_one(home: Home, parcels: Path) -> None:
    home.create()
    with (home.root / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InvalidInput, match="is already supervised by"):
            embedded.up(home.root, [parcels], said)


def test_a_killed_monitor_comes_back_where_servers_know_it(home: Home, parcels: Path) -> None:
    monitor = MonitorProcess(parcels, home.monitor("parcels"))
    with pytest.raises(MonitoringError, match="never started"):
        _ = monitor.url
    monitor.ensure()
    where = monitor.url
    _kill(monitor)
    monitor.launch()
    _kill(monitor)  # before it was ready
    assert monitor.url == where
    monitor.ensure()
    assert monitor.url == where
    assert monitor.client.healthy()
    found = MonitorProcess(parcels, home.monitor("parcels"))
    assert found.pid == monitor.pid
    monitor.stop()
    found.stop()
    assert not found.alive


def test_a_monitor_that_does_not_start_shows_its_last_words(home: Home, parcels: Path) -> None:
    parcels.write_text("kind: Model")
    with pytest.raises(MonitoringError, match=r"does not start(.|\n)*apiVersion"):
        MonitorProcess(parcels, home.monitor("parcels")).ensure()


@pytest.mark.slow
def test_coming_up_with_nothing_to_serve_asks_for_a_training_once(
    home: Home, parcels: Path
) -> None:
    run = RunRecord(
        "parcels-1", RunKind.FIRST, datetime.now(UTC), "no version", ended=RunPhase.FAILED
    )
    store = SqliteStore(home.create().store)
    store.compare_and_swap("parcels", State("parcels", runs=(run,), runs_started=1), 0, (), ())
    system = System(home, parcels, clock=WallClock())
    system.start()
    system.start()
    (asked,) = store.inbox("parcels")
    assert isinstance(asked, Command)
    assert (asked.verb, asked.by) == (Verb.TRAIN, "noria up")
    (seen,) = Machine(home.root).overview()
    assert {line.partition(" ")[0] for line in seen.processes} == {"monitor", "traefik"}
    system.stop()
    (seen,) = Machine(home.root).overview()
    assert seen.processes == ()


@pytest.mark.slow
def test_a_monitor_that_starts_on_an_empty_folder_gets_its_reference_back(
    home: Home, parcels: Path
) -> None:
    train = (*("train", "--file", str(parcels)), *("--home", str(home.root)))
    subprocess.run([sys.executable, "-m", "noria.cli", *train], check=True, capture_output=True)
    system = System(home, parcels, clock=WallClock())
    serving = State("parcels", champion="1")
    system.monitor.ensure()
    where = system.monitor.url
    assert system.tell_monitor(serving) == ""
    _until(lambda: _watched(system) == "1")

    _kill(system.monitor)
    shutil.rmtree(home.monitor("parcels"))
    system.monitor.ensure()  # as each turn of `noria up` does, which doesn't wait for it
    assert _watched(system) == ""
    _until(lambda: system.tell_monitor(serving) == "" and _watched(system) == "1")
    assert system.monitor.problem() == ""
    # The model servers were told where it is, and are not told anew.
    assert system.monitor.url == where
    system.stop()


def _watched(system: System) -> str:
    """Return the version that the monitor watches."""
    return str(system.monitor.client.status(system.name)["champion"])


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_champion_is_not_forgotten_with_the_registry_that_knew_it(
    home: Home, parcels: Path, damage: str
) -> None:
    known = State("parcels", champion="3", champion_as_of=datetime(2026, 1, 1, tzinfo=UTC))
    store = SqliteStore(home.create().store)
    store.compare_and_swap("parcels", known, 0, (), ())
    if damage == "empty":
        home.database.touch()
    system = System(home, parcels, clock=WallClock())

    for act in (system.turn, system.start):
        with pytest.raises(RegistryError, match=r"mlflow\.db.*backup"):
            act()
    (seen,) = Machine(home.root).overview()
    assert any("mlflow.db" in trouble for trouble in seen.troubles)
    assert system.engine.state() == known
    assert home.database.exists() == (damage == "empty")


def test_a_lost_state_is_not_begun_anew_from_a_registry_that_cannot_be_read(
    home: Home, parcels: Path
) -> None:
    write_json(home.traffic / "servers" / "parcels" / "3" / "server.json", {})
    home.database.write_bytes(b"garbage")
    system = System(home, parcels, clock=WallClock())

    with pytest.raises(RegistryError, match=r"mlflow\.db"):
        system.turn()
    assert system.store.load("parcels") is None


def _kill(monitor: MonitorProcess) -> None:
    pid = monitor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not monitor.alive)


def _until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
