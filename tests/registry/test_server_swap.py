"""A real MLflow server: many writers in processes of their own, of which one wins, or dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from noria.errors import Conflict
from noria.loop.conformance import RegistryConformance
from noria.registry import Candidate, MlflowRegistry
from tests.registry.mlflow_server import Relay, answers, mlflow_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning"),
]

_models = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server") / "mlflow") as url:
        answers(f"{url}/health")
        yield url


class Driver:
    """A model of its own on the server. Its versions have a run, and no package."""

    def __init__(self, server: str, folder: Path) -> None:
        import mlflow

        self.model = f"parcels-{next(_models)}"
        self.mlflow = mlflow.MlflowClient(server, registry_uri=server)
        self._server, self._folder = server, folder
        self.port = self.reopen()

    def register(self) -> str:
        from noria.registry.client import ensure_registered

        ensure_registered(self.mlflow, self.model)
        run = f"run-{len(self.port.versions(self.model)) + 1}"
        made = self.mlflow.create_model_version(
            self.model, "s3://nowhere/package", tags={"noria.run_id": run}
        )
        return str(made.version)

    def reopen(self) -> MlflowRegistry:
        return MlflowRegistry(self._server, self._folder / "artifacts")


@pytest.fixture
def driver(server: str, tmp_path: Path) -> Driver:
    return Driver(server, tmp_path)


class TestConformance(RegistryConformance):
    """The fixture ``driver`` is the module's."""


class Writers:
    """Processes that move an alias, each with a folder of its own: they share the server alone."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.registry.writers", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._numbers = count()
        self._said = threading.Condition()
        self._lines: dict[int, list[str]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, uri: str, model: str, version: str | None, expected: str | None) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([uri, model, version, expected]) + "\n")
        self._process.stdin.flush()
        return next(self._numbers)

    def pid(self, writer: int) -> int:
        return int(self._line(writer, 0).removeprefix("pid "))

    def outcome(self, writer: int) -> str:
        return self._line(writer, 1)

    def _line(self, writer: int, index: int) -> str:
        with self._said:
            there = self._said.wait_for(lambda: len(self._lines.get(writer, [])) > index, 250)
            assert there, f"writer {writer} says nothing: {self._lines}"
            return self._lines[writer][index]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, _, said = line.strip().partition(" ")
            with self._said:
                self._lines.setdefault(int(number), []).append(said)
                self._said.notify_all()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writers]:
    made = Writers(tmp_path_factory.mktemp("writers"))
    yield made
    made.close()


@pytest.fixture
def relay(server: str) -> Iterator[Relay]:
    made = Relay(server)
    yield made
    made.close()


def test_of_two_processes_that_move_the_champion_one_wins_and_the_other_is_told(
    driver: Driver, server: str, writers: Writers
) -> None:
    versions = [driver.register() for _ in range(2)]
    champion: str | None = None
    for _ in range(12):
        started = {v: writers.start(server, driver.model, v, champion) for v in versions}
        ended = {version: writers.outcome(writer) for version, writer in started.items()}
        (won,) = (version for version, outcome in ended.items() if outcome == "won")
        assert sorted(ended.values()) == ["Conflict", "won"]
        assert driver.port.alias(driver.model, "champion") == won
        # Back to none, so that both may move it again.
        driver.port.set_alias(driver.model, "champion", None, expected=won)


def test_the_one_whose_move_was_written_down_first_wins_however_late_it_goes_on(
    driver: Driver, server: str, relay: Relay, writers: Writers
) -> None:
    first, second = driver.register(), driver.register()
    arrived, go = threading.Event(), threading.Event()

    def hold(step: str) -> None:
        if step == "alias" and not arrived.is_set():
            arrived.set()
            go.wait(120)

    relay.before = hold
    slow = writers.start(relay.url, driver.model, first, None)
    assert arrived.wait(120)
    # The slow one has won, and not written the alias yet: who comes next does it for it.
    with pytest.raises(Conflict, match=f"points at {first}, not at nothing"):
        driver.port.set_alias(driver.model, "champion", second, expected=None)
    assert driver.port.alias(driver.model, "champion") == first
    driver.port.set_alias(driver.model, "champion", second, expected=first)
    go.set()

    assert writers.outcome(slow) == "won"
    # Its alias, written last of all, was out of date, which it saw.
    assert driver.port.alias(driver.model, "champion") == second


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["create", "alias", "set-tag"])
def test_a_writer_that_is_killed_leaves_what_the_next_one_goes_on_from(
    driver: Driver, relay: Relay, writers: Writers, step: str, moment: str
) -> None:
    first, second = driver.register(), driver.register()
    driver.port.set_alias(driver.model, "champion", first, expected=None)
    driver.port._catalog.challenge(driver.model, second)
    dead = threading.Event()

    def kill(seen: str) -> bool:
        if seen != step or dead.is_set():
            return False
        os.kill(writers.pid(writer), signal.SIGKILL)
        dead.set()
        return True

    setattr(relay, moment, kill)
    writer = writers.start(relay.url, driver.model, second, first)
    assert dead.wait(120)

    # The same decision again, as the loop's outbox has it.
    try:
        driver.port.set_alias(driver.model, "champion", second, expected=first)
    except Conflict:
        assert (step, moment) != ("create", "before")
    assert driver.port.alias(driver.model, "champion") == second
    assert driver.port.alias(driver.model, "challenger") is None
    driver.port.set_alias(driver.model, "champion", first, expected=second)
    assert driver.port.alias(driver.model, "champion") == first


def test_what_a_person_moved_is_a_conflict_and_stays(driver: Driver, relay: Relay) -> None:
    first, second, third = (driver.register() for _ in range(3))
    ours = MlflowRegistry(relay.url, driver._folder / "ours")
    ours.set_alias(driver.model, "champion", first, expected=None)
    driver.mlflow.set_registered_model_alias(driver.model, "champion", third)
    with pytest.raises(Conflict, match=f"points at {third}, not at {first}"):
        ours.set_alias(driver.model, "champion", second, expected=first)

    def meanwhile(step: str) -> None:
        if step == "create":
            driver.mlflow.set_registered_model_alias(driver.model, "champion", first)

    relay.after = meanwhile
    with pytest.raises(Conflict, match=f"points at {first}, not at {second}"):
        ours.set_alias(driver.model, "champion", second, expected=third)
    relay.after = lambda _: None
    assert driver.port.alias(driver.model, "champion") == first
    ours.set_alias(driver.model, "champion", second, expected=first)
    assert driver.port.alias(driver.model, "champion") == second


def test_moves_go_on_when_what_was_written_down_is_deleted(driver: Driver) -> None:
    first, second = driver.register(), driver.register()
    driver.port.set_alias(driver.model, "champion", first, expected=None)
    driver.port.set_alias(driver.model, "champion", second, expected=first)

    driver.mlflow.delete_model_version(f"{driver.model}.champion", "1")
    driver.port.set_alias(driver.model, "champion", first, expected=second)
    assert driver.port.alias(driver.model, "champion") == first

    driver.mlflow.delete_registered_model(f"{driver.model}.champion")
    driver.port.set_alias(driver.model, "champion", second, expected=first)
    assert driver.port.alias(driver.model, "champion") == second


def test_a_run_registers_a_version_and_leaves_the_champion_alone(
    server: str, make_candidate: Callable[..., Candidate], tmp_path: Path
) -> None:
    registry = MlflowRegistry(server, tmp_path / "artifacts")

    version = registry.register(make_candidate())

    assert registry.alias("flights", "challenger") == version
    assert registry.alias("flights", "champion") is None
    assert (registry.package_path("flights", version) / "noria.json").is_file()
    registry.set_alias("flights", "champion", version, expected=None)
    assert registry.register(make_candidate()) == version
    assert registry.alias("flights", "challenger") is None
