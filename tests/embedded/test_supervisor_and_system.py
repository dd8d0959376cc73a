"""Coming up and going down: what is refused, what is found again, what is asked for."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noria import embedded
from noria.embedded.clocks import WallClock
from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.system import System
from noria.errors import InvalidInput, MonitoringError, SpecError
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import RunKind, RunRecord, State
from noria.loop.values import Command, RunPhase, Verb
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
    (seen,) = embedded.status(home.root)
    assert {line.partition(" ")[0] for line in seen.processes} == {"monitor", "traefik"}
    system.stop()
    (seen,) = embedded.status(home.root)
    assert seen.processes == ()


def _kill(monitor: MonitorProcess) -> None:
    pid = monitor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while monitor.alive:
        assert time.monotonic() < deadline
        time.sleep(0.01)
