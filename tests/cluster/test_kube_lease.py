"""Leader election on a real API server: at most one leads, and somebody always does again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from noria.errors import InvalidInput
from noria.kube import KubeClient
from noria.kube.kinds import LEASE
from noria.kube.lease import Leader, Tenure, Times

pytestmark = pytest.mark.cluster

QUICK = Times(duration=5, renew_deadline=3, retry=0.2)


@pytest.fixture
def client(cluster: Any) -> Iterator[KubeClient]:
    with closing(KubeClient.connect(cluster.kubeconfig)) as made:
        yield made


def leader(client: KubeClient, namespace: str, identity: str) -> Leader:
    return Leader(client, namespace, "operator", identity, times=QUICK)


def spec(client: KubeClient, namespace: str) -> dict[str, Any]:
    found = client.get(LEASE, "operator", namespace)
    assert found is not None
    return dict(found["spec"])


def test_the_first_leads_and_the_next_follows_at_once_when_it_ends(
    client: KubeClient, namespace: str
) -> None:
    with leader(client, namespace, "one").hold() as tenure:
        assert not tenure.lost
        assert spec(client, namespace)["holderIdentity"] == "one"
        stop = threading.Event()
        threading.Timer(0.5, stop.set).start()
        with leader(client, namespace, "two").hold(stop) as other:
            assert other.lost
        # It outlives its deadline by being renewed.
        assert not tenure.wait_lost(4)
        renewed = spec(client, namespace)
        assert renewed["renewTime"] > renewed["acquireTime"]
    assert tenure.lost
    began = time.monotonic()
    with leader(client, namespace, "two").hold() as tenure:
        assert not tenure.lost
        assert time.monotonic() - began < QUICK.duration, "it did not wait for the lease to lapse"
        assert spec(client, namespace)["leaseTransitions"] == 1


def test_of_many_contenders_one_leads_at_a_time(cluster: Any, namespace: str) -> None:
    leading: list[str] = []
    most: list[int] = []
    lock = threading.Lock()

    def contend(identity: str) -> None:
        with closing(KubeClient.connect(cluster.kubeconfig)) as mine:
            for _ in range(2):
                with leader(mine, namespace, identity).hold() as tenure:
                    assert not tenure.lost
                    with lock:
                        leading.append(identity)
                        most.append(len(leading))
                    time.sleep(0.1)
                    with lock:
                        leading.remove(identity)

    threads = [threading.Thread(target=contend, args=(f"c{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


_CONTENDER = """
import sys, time
from pathlib import Path
from noria.kube import KubeClient
from noria.kube.lease import Leader, Times

client = KubeClient.connect(Path(sys.argv[1]))
times = Times(duration=5, renew_deadline=3, retry=0.2)
with Leader(client, sys.argv[2], "operator", sys.argv[3], times=times).hold() as tenure:
    while True:
        at = time.monotonic()
        lost = tenure.lost
        print("lost" if lost else "leads", at, flush=True)
        if lost:
            break
        time.sleep(0.02)
"""


@pytest.fixture
def contender(cluster: Any, namespace: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that leads already, and says so on and on with the machine's clock."""
    process = subprocess.Popen(
        [sys.executable, "-c", _CONTENDER, str(cluster.kubeconfig), namespace, "other"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("leads")
    yield process
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_leader_is_followed_within_the_duration(
    client: KubeClient, namespace: str, contender: subprocess.Popen[str]
) -> None:
    won = threading.Event()
    at: list[float] = []

    def wait() -> None:
        with leader(client, namespace, "me").hold():
            at.append(time.monotonic())
            won.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not won.wait(1.0), "nobody takes what is renewed"
    killed = time.monotonic()
    contender.kill()
    thread.join(60)
    last = float(contender.communicate()[0].splitlines()[-1].split()[1])
    # It waits for the duration since the last renewal that it saw, and a look more.
    assert at[0] > last
    assert 0.5 < at[0] - killed < 2 * QUICK.duration


def test_a_stopped_leader_has_lost_when_it_goes_on(
    client: KubeClient, namespace: str, contender: subprocess.Popen[str]
) -> None:
    time.sleep(0.5)
    os.kill(contender.pid, signal.SIGSTOP)
    with leader(client, namespace, "me").hold() as tenure:
        won = time.monotonic()
        os.kill(contender.pid, signal.SIGCONT)
        said = contender.communicate(timeout=120)[0].splitlines()
        assert not tenure.lost
        assert spec(client, namespace)["holderIdentity"] == "me"
    leads = [float(line.split()[1]) for line in said if line.startswith("leads")]
    assert said[-1].startswith("lost")
    assert max(leads) < won


class Relay:
    """Passes bytes to the API server and back, until it is told to swallow them."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._flows = threading.Event()
        self._flows.set()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def pause(self) -> None:
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    def close(self) -> None:
        self._flows.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(client: KubeClient) -> Iterator[Relay]:
    address = urlsplit(client.host)
    made = Relay(str(address.hostname), address.port or 443)
    yield made
    made.close()


@pytest.fixture
def distant(cluster: Any, client: KubeClient, relay: Relay, tmp_path: Path) -> Iterator[KubeClient]:
    """A client behind the relay, as a process on another machine may be."""
    path = tmp_path / "kubeconfig"
    text = cluster.kubeconfig.read_text()
    path.write_text(text.replace(client.host, f"https://127.0.0.1:{relay.port}"))
    with closing(KubeClient.connect(path)) as made:
        yield made


def test_a_leader_that_gets_no_answer_has_lost_before_another_wins(
    client: KubeClient, namespace: str, distant: KubeClient, relay: Relay
) -> None:
    with leader(distant, namespace, "distant").hold() as tenure:
        won: list[float] = []

        def follow() -> None:
            with leader(client, namespace, "near").hold():
                won.append(time.monotonic())

        follower = threading.Thread(target=follow)
        follower.start()
        time.sleep(0.5)
        relay.pause()
        assert tenure.wait_lost(60)
        lost = time.monotonic()
        follower.join(60)
        assert won
        assert lost < won[0]
        relay.go_on()
        # What was on its way arrives now, and changes nothing.
        time.sleep(0.5)
        assert tenure.lost


def test_after_a_pause_of_the_server_for_all_somebody_leads_again(
    namespace: str, distant: KubeClient, relay: Relay
) -> None:
    with leader(distant, namespace, "one").hold() as tenure:
        relay.pause()
        assert tenure.wait_lost(60)
        relay.go_on()
    with leader(distant, namespace, "one").hold() as tenure:
        assert not tenure.lost


def test_a_lease_is_taken_only_when_unchanged_for_its_duration_by_ones_own_clock(
    client: KubeClient, namespace: str
) -> None:
    # The clock of the one who wrote it is a year ahead; only the change counts.
    client.create(
        LEASE,
        {
            "metadata": {"name": "operator"},
            "spec": {
                "holderIdentity": "other",
                "leaseDurationSeconds": 60,
                "renewTime": "2027-01-01T00:00:00.000000Z",
            },
        },
        namespace,
    )
    at = [1000.0]
    mine = Leader(client, namespace, "operator", "me", times=QUICK, clock=lambda: at[0])
    tenure = Tenure(lambda: at[0])
    assert not mine.attempt(tenure)
    at[0] += 59
    assert not mine.attempt(tenure)
    renewed = {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
    client.patch_merge(LEASE, "operator", namespace, renewed)
    at[0] += 2
    assert not mine.attempt(tenure)
    at[0] += 60
    assert not mine.attempt(tenure)
    at[0] += 0.1
    assert mine.attempt(tenure)
    assert not tenure.lost
    at[0] += QUICK.renew_deadline
    assert tenure.lost
    assert not mine.attempt(tenure), "a tenure that is over stays over"


def test_times_that_could_let_two_lead_are_refused(client: KubeClient) -> None:
    with pytest.raises(InvalidInput, match="must rise: retry 2, renew_deadline 20, duration 15"):
        Times(duration=15, renew_deadline=20, retry=2)
    with pytest.raises(InvalidInput, match="identity"):
        Leader(client, "any", "operator", "")
