"""Two versions behind a real Traefik."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from noria.errors import TrafficError
from noria.loop.conformance import TrafficConformance
from noria.process import start_time
from serving.traffic import ServerLaunch, TraefikTraffic

BODY = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}]}


@dataclass
class World:
    """Drivers over one home; everything that was started is killed at the end."""

    home: Path
    package: Path
    environment: dict[str, str] = field(default_factory=dict)
    sticky: bool = False
    opened: list[TraefikTraffic] = field(default_factory=list)

    def open(self, patience: float = 30.0) -> TraefikTraffic:
        self.opened.append(TraefikTraffic(self.home, self.resolve, patience=patience))
        return self.opened[-1]

    def resolve(self, _model: str, _version: str) -> ServerLaunch:
        return ServerLaunch(
            package=str(self.package), drain_delay=0.1, sticky=self.sticky,
            environment=self.environment,
        )  # fmt: skip

    def close(self) -> None:
        if self.opened:
            for pid in self.opened[0].processes.values():
                os.kill(pid, signal.SIGCONT)
            self.opened[0].stop()
        for traffic in self.opened:
            traffic.close()


@pytest.fixture
def world(tmp_path: Path, package: Path) -> Iterator[World]:
    made = World(tmp_path / "traffic", package)
    yield made
    made.close()


def wait_ready(traffic: TraefikTraffic, *versions: str) -> None:
    deadline = time.monotonic() + 120
    while not all(traffic.ready("m").get(version) for version in versions):
        assert time.monotonic() < deadline, "not ready"
        time.sleep(0.05)


def serve_versions(world: World, *versions: str) -> TraefikTraffic:
    traffic = world.open()
    for version in versions:
        traffic.deploy("m", version)
    wait_ready(traffic, *versions)
    traffic.set_weights("m", {versions[0]: 100})
    return traffic


def split_of(url: str, requests: int, client: httpx.Client | None = None) -> Counter[str]:
    own = client or httpx.Client(trust_env=False)
    seen: Counter[str] = Counter()
    for _ in range(requests):
        answer = own.post(f"{url}/v2/models/m/infer", json=BODY)
        seen[answer.json()["model_version"] if answer.is_success else str(answer.status_code)] += 1
    if client is None:
        own.close()
    return seen


class TestTraefikTraffic(TrafficConformance):
    @pytest.fixture
    def driver(self, world: World) -> Driver:
        return Driver(world)


class Driver:
    model = "m"
    patience = 30.0
    versions = ("1", "2")

    def __init__(self, world: World) -> None:
        self.world = world
        self.port = world.open()

    def make_ready(self, version: str) -> None:
        """It gets ready by itself."""

    def break_down(self, version: str) -> None:
        # Killed, it would be started again; stopped, it hangs.
        os.kill(self.port.processes[f"m/{version}"], signal.SIGSTOP)

    def reopen(self) -> TraefikTraffic:
        return self.world.open()


class Load:
    """Keeps requests coming from several clients and remembers every answer."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self.url = url
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"{self.url}/v2/models/m/infer", json=BODY)
                    if answer.is_success:
                        self.versions[answer.json()["model_version"]] += 1
                    else:
                        self.failures.append(f"{answer.status_code}: {answer.text}")
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                time.sleep(0.002)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_no_request_is_lost_while_a_canary_takes_over_and_the_old_version_retires(
    world: World,
) -> None:
    traffic = serve_versions(world, "1", "2")
    load = Load(traffic.url)
    try:
        for weights in ({"1": 90, "2": 10}, {"1": 50, "2": 50}, {"1": 10, "2": 90}, {"2": 100}):
            traffic.set_weights("m", weights)
            assert traffic.weights("m") == weights
            time.sleep(0.4)
        traffic.retire("m", "1")
        time.sleep(0.3)
    finally:
        load.stop()
    assert load.failures == []
    assert load.versions["1"] > 50
    assert load.versions["2"] > 50
    assert traffic.ready("m") == {"2": True}


def test_weights_are_in_force_for_clients_when_set_weights_returns(world: World) -> None:
    traffic = serve_versions(world, "1", "2")
    for weights in ({"2": 100}, {"1": 100}, {"2": 100}):
        traffic.set_weights("m", weights)
        (only,) = weights
        assert split_of(traffic.url, 20) == {only: 20}


def test_requests_are_split_by_the_weights(world: World) -> None:
    traffic = serve_versions(world, "1", "2")
    traffic.set_weights("m", {"1": 90, "2": 10})
    assert split_of(traffic.url, 200) == {"1": 180, "2": 20}


def test_a_sticky_client_stays_on_its_version(world: World) -> None:
    world.sticky = True
    traffic = serve_versions(world, "1", "2")
    traffic.set_weights("m", {"1": 50, "2": 50})
    for _ in range(3):
        with httpx.Client(trust_env=False) as client:
            assert len(split_of(traffic.url, 10, client)) == 1


@pytest.mark.parametrize("victim", ["traefik", "m/1"])
def test_what_is_killed_comes_back_where_it_was(world: World, victim: str) -> None:
    traffic = serve_versions(world, "1", "2")
    traffic.set_weights("m", {"1": 50, "2": 50})
    url, before = traffic.url, traffic.processes[victim]
    os.kill(before, signal.SIGKILL)
    # The death of a process is not seen in the instant of the signal.
    deadline = time.monotonic() + 5
    while traffic.processes.get(victim) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    traffic.ensure()
    wait_ready(traffic, "1", "2")
    assert traffic.processes[victim] != before
    assert traffic.url == url
    assert traffic.weights("m") == {"1": 50, "2": 50}
    assert split_of(url, 20) == {"1": 10, "2": 10}


def test_a_client_sees_no_error_when_one_of_two_versions_is_killed(world: World) -> None:
    traffic = serve_versions(world, "1", "2")
    traffic.set_weights("m", {"1": 50, "2": 50})
    os.kill(traffic.processes["m/2"], signal.SIGKILL)
    time.sleep(0.1)
    assert split_of(traffic.url, 20) == {"1": 20}


def test_a_new_engine_adopts_the_processes_that_run(world: World) -> None:
    traffic = serve_versions(world, "1", "2")
    again = world.open()
    again.ensure()
    assert again.processes == traffic.processes


def test_a_version_that_can_not_load_is_never_ready_and_its_log_is_quoted(
    world: World, tmp_path: Path
) -> None:
    world.package = tmp_path / "nothing-here"
    traffic = world.open()
    traffic.deploy("m", "1")
    deadline = time.monotonic() + 120
    while not traffic.problems("m"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert traffic.ready("m") == {"1": False}
    with pytest.raises(TrafficError, match=r"version 1 is not ready[\s\S]*nothing-here"):
        traffic.set_weights("m", {"1": 100})


def test_traefik_tells_nobody_about_itself(world: World) -> None:
    traffic = serve_versions(world, "1")
    static = json.loads((world.home / "traefik" / "traefik.yml").read_text())
    assert static["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{traffic.url}/api/http/services").status_code == 404
        assert client.get(f"{traffic.url}/ping").status_code == 404


def test_looking_at_what_was_stopped_starts_nothing_and_ensure_brings_all_of_it_back(
    world: World,
) -> None:
    traffic = serve_versions(world, "1", "2")
    traffic.set_weights("m", {"1": 90, "2": 10})
    traffic.stop()
    assert traffic.weights("m") == {}
    assert traffic.ready("m") == {"1": False, "2": False}
    assert traffic.processes == {}
    traffic.ensure()
    wait_ready(traffic, "1", "2")
    assert traffic.weights("m") == {"1": 90, "2": 10}
    assert split_of(traffic.url, 10) == {"1": 9, "2": 1}


def test_a_server_that_cannot_start_says_why_and_heals_with_what_is_corrected(
    world: World,
) -> None:
    good = world.package
    world.package = world.home / "nowhere"
    traffic = world.open()
    traffic.deploy("m", "1")
    deadline = time.monotonic() + 120
    while "can't start" not in traffic.problems("m").get("1", ""):
        assert time.monotonic() < deadline, traffic.problems("m")
        time.sleep(0.05)
    assert "nowhere" in traffic.problems("m")["1"]
    assert dict(traffic.ready("m")) == {"1": False}
    world.package = good
    wait_ready(traffic, "1")
    assert traffic.problems("m") == {}


def test_a_server_that_is_only_starting_is_no_problem(world: World) -> None:
    traffic = world.open()
    traffic.deploy("m", "1")
    assert traffic.problems("m") == {}
    assert traffic.starting("m") == {"1"}
    wait_ready(traffic, "1")
    assert traffic.starting("m") == frozenset()


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"pid": 1e99}', b"\0" * 50])
def test_a_server_whose_note_is_damaged_goes_on_and_is_known_again(
    world: World, damage: bytes
) -> None:
    traffic = serve_versions(world, "1", "2")
    before = dict(traffic.processes)
    (world.home / "servers" / "m" / "1" / "server.json").write_bytes(damage)
    assert dict(world.open().ready("m")) == {"1": True, "2": True}
    assert dict(traffic.processes) == before
    assert split_of(traffic.url, 10) == {"1": 10}


@pytest.mark.parametrize("name", ["ports.json", "process.json", "traefik.yml"])
def test_a_proxy_whose_notes_are_damaged_goes_on_at_its_address(world: World, name: str) -> None:
    traffic = serve_versions(world, "1")
    url, pid = traffic.url, traffic.processes["traefik"]
    (world.home / "traefik" / name).write_bytes(b"[]")
    again = world.open()
    again.ensure()
    assert (again.url, again.processes["traefik"]) == (url, pid)
    assert split_of(again.url, 10) == {"1": 10}


def test_traefiks_file_of_a_model_is_made_again(world: World) -> None:
    traffic = serve_versions(world, "1")
    (world.home / "traefik" / "dynamic" / "m.yml").write_text("{")
    (world.home / "traefik" / "dynamic" / "nobodys.yml").write_text("{")
    traffic.set_weights("m", {"1": 100})
    assert split_of(traffic.url, 10) == {"1": 10}
    assert dict(traffic.weights("m")) == {"1": 100}


def test_stopping_ends_servers_whose_notes_are_lost(world: World) -> None:
    traffic = serve_versions(world, "1")
    pids = dict(traffic.processes)
    for note in world.home.rglob("*.json"):
        note.unlink()
    traffic.stop()
    for pid in pids.values():
        assert start_time(pid) is None


def test_what_no_longer_answers_is_ended_and_started_again(world: World) -> None:
    serve_versions(world, "1")
    traffic = world.open(patience=0.5)
    before = dict(traffic.processes)
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 120
    while set(before.values()) & set(traffic.processes.values()) or not traffic.ready("m")["1"]:
        assert time.monotonic() < deadline
        traffic.ensure()
        time.sleep(0.1)
    assert split_of(traffic.url, 10) == {"1": 10}
