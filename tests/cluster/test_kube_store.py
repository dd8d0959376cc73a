"""The loop's store on a real API server: whole writes, from many writers, killed anywhere."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.errors import Conflict, StoreError, Unavailable
from noria.kube import Kind, KubeClient
from noria.kube.inbox import BATCH, CONSUMED_LABEL, INBOX_LABEL, REMEMBERED
from noria.kube.kinds import CONFIG_MAP, CRD, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from noria.kube.kinds import MODEL as MODEL_KIND
from noria.kube.record import MAX_RECORD_BYTES
from noria.kube.segments import SEGMENT_BYTES
from noria.kube.store import KubeStore
from noria.loop import ledger
from noria.loop.conformance import StoreConformance
from noria.loop.ledger import GENESIS, Head, LedgerEntry
from noria.loop.ports import Store
from noria.loop.state import Note, State
from noria.loop.values import Command, Verb
from noria.spec.schema.crd import crd

pytestmark = pytest.mark.cluster

MODEL = "flights"
EXAMPLE = Path(__file__).parents[2] / "examples" / "flights" / "model.yaml"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def client(cluster: Any) -> Iterator[KubeClient]:
    with closing(KubeClient.connect(cluster.kubeconfig)) as made:
        yield made


@pytest.fixture
def store(client: KubeClient, namespace: str) -> KubeStore:
    return KubeStore(client, namespace)


class Driver:
    def __init__(self, cluster: Any, namespace: str) -> None:
        self._kubeconfig, self._namespace = cluster.kubeconfig, namespace
        self.port = self.reopen()

    def reopen(self) -> Store:
        return KubeStore(KubeClient.connect(self._kubeconfig), self._namespace)


class TestKubeStore(StoreConformance):
    @pytest.fixture
    def driver(self, cluster: Any, namespace: str) -> Driver:
        return Driver(cluster, namespace)


def command(key: str, reason: str = "") -> Command:
    return Command(key, Verb.PAUSE, NOW, "ann", reason)


def chain(length: int, head: Head = GENESIS, said: str = "held") -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    for number in range(length):
        note = Note("rollout", f"{said} {number}", {"share": 0.1}, change=True)
        entries.append(ledger.append(head, NOW, MODEL, (note,), ()))
        head = entries[-1].head
    return entries


def segments(client: KubeClient, namespace: str) -> list[dict[str, Any]]:
    found = client.list(CONFIG_MAP, namespace, labels={"noria.dev/model": MODEL})
    return [item for item in found if "-ledger-" in item["metadata"]["name"]]


def test_three_thousand_entries_go_to_segments_and_hold(
    store: KubeStore, client: KubeClient, namespace: str
) -> None:
    entries = chain(3000, said="a decision was made about version v7 " * 8)
    revision = 0
    for first in range(0, 3000, 60):
        some = entries[first : first + 60]
        state = State(MODEL, head=some[-1].head)
        revision = store.compare_and_swap(MODEL, state, revision, some)

    made = segments(client, namespace)
    assert len(made) > 5
    assert all(item["immutable"] for item in made)
    assert all(len(item["data"]["ledger"].encode()) <= SEGMENT_BYTES for item in made)
    stored = KubeStore(client, namespace).load(MODEL)
    assert stored is not None
    assert ledger.verify(store.entries(MODEL), stored.state.head) == entries[-1].head
    for after in (0, 1, 59, 60, 1234, 2999, 3000):
        assert list(store.entries(MODEL, after)) == entries[after:]


def test_entries_are_read_whole_while_others_write(store: KubeStore) -> None:
    entries = chain(400, said="a decision was made about version v7 " * 40)
    done = threading.Event()

    def write() -> None:
        revision = 0
        for first in range(0, 400, 10):
            some = entries[first : first + 10]
            revision = store.compare_and_swap(MODEL, State(MODEL), revision, some)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        found = list(store.entries(MODEL))
        assert found == entries[: len(found)]
        reads += 1
    writer.join()
    assert list(store.entries(MODEL)) == entries


def test_text_with_other_line_ends_stays_in_its_entry(store: KubeStore) -> None:
    entries = chain(2, said="one\u2028two\x85three\x0bfour\nfive")
    store.compare_and_swap(MODEL, State(MODEL), 0, entries)
    assert list(store.entries(MODEL)) == entries


def test_of_two_racing_writers_each_write_stands_once(cluster: Any, namespace: str) -> None:
    start = threading.Barrier(2)
    lost: list[int] = []

    def write() -> None:
        mine = KubeStore(KubeClient.connect(cluster.kubeconfig), namespace)
        start.wait()
        done = 0
        while done < 30:
            stored = mine.load(MODEL)
            state = stored.state if stored is not None else State(MODEL)
            entry = chain(1, state.head, said="race " * 1500)[0]
            more = State(MODEL, losses=state.losses + 1, head=entry.head)
            try:
                mine.compare_and_swap(MODEL, more, stored.revision if stored else 0, (entry,))
            except Conflict:
                lost.append(1)
                continue
            done += 1

    with ThreadPoolExecutor(2) as pool:
        for written in [pool.submit(write) for _ in range(2)]:
            written.result()

    store = KubeStore(KubeClient.connect(cluster.kubeconfig), namespace)
    stored = store.load(MODEL)
    assert stored is not None
    assert stored.state.losses == 60
    assert ledger.verify(store.entries(MODEL), stored.state.head).sequence == 60


_KILLED = """
import os, signal, sys
from pathlib import Path
from noria.kube import KubeClient
from noria.kube.store import KubeStore
from noria.loop.ledger import LedgerEntry
from noria.loop.state import State
from noria.loop.values import from_json

class Killed(KubeClient):
    def replace(self, kind, body, namespace):
        os.kill(os.getpid(), signal.SIGKILL)

store = KubeStore(Killed.connect(Path(sys.argv[1])), sys.argv[2])
stored = store.load("flights")
store.compare_and_swap("flights", State("flights", losses=9), stored.revision, ())
"""


def test_a_writer_killed_between_segment_and_record_changes_nothing(
    store: KubeStore, client: KubeClient, cluster: Any, namespace: str
) -> None:
    entries = chain(200, said="x" * 1000)
    revision = store.compare_and_swap(MODEL, State(MODEL, losses=1), 0, entries[:190])
    assert segments(client, namespace) == []

    arguments = [sys.executable, "-c", _KILLED, str(cluster.kubeconfig), namespace]
    killed = subprocess.run(arguments, check=False, timeout=300)
    assert killed.returncode == -9

    left = segments(client, namespace)
    assert len(left) == 1
    stored = store.load(MODEL)
    assert stored is not None
    assert (stored.state.losses, stored.revision) == (1, revision)
    assert list(store.entries(MODEL)) == entries[:190]

    # Other entries come first this time; the segment that was left is the right one all the same.
    state = State(MODEL, losses=2)
    revision = store.compare_and_swap(MODEL, state, revision, entries[190:])
    assert segments(client, namespace) == left
    assert list(store.entries(MODEL)) == entries


def test_a_segment_with_other_entries_is_refused(
    store: KubeStore, client: KubeClient, namespace: str
) -> None:
    revision = store.compare_and_swap(MODEL, State(MODEL), 0, chain(200, said="x" * 1000))
    name = f"noria-{MODEL}-ledger-000000000001"
    labels = {"noria.dev/model": MODEL}
    body = {"metadata": {"name": name, "labels": labels}, "data": {"ledger": "{}"}}
    client.create(CONFIG_MAP, body, namespace)
    with pytest.raises(StoreError, match=f"{name} holds other entries"):
        store.compare_and_swap(MODEL, State(MODEL), revision, ())


def test_a_lost_segment_is_said_and_not_skipped(
    store: KubeStore, client: KubeClient, namespace: str
) -> None:
    revision = store.compare_and_swap(MODEL, State(MODEL), 0, chain(200, said="x" * 1000))
    store.compare_and_swap(MODEL, State(MODEL), revision, ())
    (segment,) = segments(client, namespace)
    client.delete(CONFIG_MAP, segment["metadata"]["name"], namespace)
    with pytest.raises(StoreError, match=r"is gone.*restore it from a backup"):
        list(store.entries(MODEL))


def test_a_state_that_outgrows_its_object_is_refused_with_the_sizes(store: KubeStore) -> None:
    revision = store.compare_and_swap(MODEL, State(MODEL), 0, ())
    large = State(MODEL, used=tuple(f"signal-{number:>20}" for number in range(30_000)))
    with pytest.raises(StoreError, match=rf"state \d{{6,}}, ledger \d+.*{MAX_RECORD_BYTES}"):
        store.compare_and_swap(MODEL, large, revision, ())
    stored = store.load(MODEL)
    assert stored is not None
    assert (stored.state, stored.revision) == (State(MODEL), revision)


def test_a_state_just_below_the_limit_is_taken_by_the_server(store: KubeStore) -> None:
    # Three bytes a character: bytes count, not characters.
    text = "가" * ((MAX_RECORD_BYTES - 2000) // 3)
    revision = store.compare_and_swap(MODEL, State(MODEL, train_asked=text), 0, ())
    stored = store.load(MODEL)
    assert stored is not None
    assert (stored.state.train_asked, stored.revision) == (text, revision)


def test_five_hundred_submits_with_duplicates_at_once_keep_each_message_once(
    cluster: Any, namespace: str
) -> None:
    stores = [KubeStore(KubeClient.connect(cluster.kubeconfig), namespace) for _ in range(4)]
    keys = [f"alert-{number % 230}" for number in range(500)]

    def submit(number: int) -> bool:
        return stores[number % 4].submit(MODEL, command(keys[number]))

    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(submit, range(500)))
    assert sum(new) == 230

    taken: list[str] = []
    revision = 0
    while messages := stores[0].inbox(MODEL):
        assert len(messages) <= BATCH
        ids = tuple(message.id for message in messages)
        revision = stores[1].compare_and_swap(MODEL, State(MODEL), revision, (), ids)
        taken.extend(ids)
    assert sorted(taken) == sorted(set(keys))
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(submit, range(0, 500, 7)))
    assert stores[2].inbox(MODEL) == ()


def test_a_consumed_message_stays_away_after_many_writes(
    store: KubeStore, client: KubeClient, namespace: str
) -> None:
    store.submit(MODEL, command("c1"))
    revision = store.compare_and_swap(MODEL, State(MODEL), 0, (), ("c1",))
    for losses in range(3):
        assert store.inbox(MODEL) == ()
        assert not store.submit(MODEL, command("c1"))
        revision = store.compare_and_swap(MODEL, State(MODEL, losses=losses + 1), revision, ())
    assert client.list(CONFIG_MAP, namespace, labels={INBOX_LABEL: MODEL}) == []
    assert len(client.list(CONFIG_MAP, namespace, labels={CONSUMED_LABEL: MODEL})) == 1
    record = client.get(CONFIG_MAP, f"noria-{MODEL}-loop", namespace)
    assert record is not None
    assert record["data"]["consumed"] == "[]"


def test_ids_are_forgotten_only_when_nobody_repeated_them_for_long(
    client: KubeClient, namespace: str
) -> None:
    now = [NOW]
    store = KubeStore(client, namespace, now=lambda: now[0])
    for key in ("quiet", "repeated"):
        store.submit(MODEL, command(key))
    revision = store.compare_and_swap(MODEL, State(MODEL), 0, (), ("quiet", "repeated"))
    revision = store.compare_and_swap(MODEL, State(MODEL, losses=1), revision, ())

    now[0] += REMEMBERED - timedelta(days=1)
    assert not store.submit(MODEL, command("repeated"))
    now[0] += timedelta(days=2)
    store.submit(MODEL, command("another"))
    revision = store.compare_and_swap(MODEL, State(MODEL, losses=2), revision, (), ("another",))
    store.compare_and_swap(MODEL, State(MODEL, losses=3), revision, ())

    assert not store.submit(MODEL, command("repeated"))
    assert store.submit(MODEL, command("quiet"))


def test_a_message_that_is_too_large_is_refused(store: KubeStore) -> None:
    with pytest.raises(StoreError, match=r"'c1' has \d+ bytes; at most 65536"):
        store.submit(MODEL, command("c1", "x" * 70_000))


def test_an_object_of_somebody_else_is_not_taken_for_the_loops(
    store: KubeStore, client: KubeClient, namespace: str
) -> None:
    name = f"noria-{MODEL}-loop"
    client.create(CONFIG_MAP, {"metadata": {"name": name}, "data": {"a": "b"}}, namespace)
    with pytest.raises(StoreError, match=f"{namespace}/{name} has label"):
        store.load(MODEL)


def test_what_others_add_to_the_object_stays(
    store: KubeStore, client: KubeClient, namespace: str
) -> None:
    store.compare_and_swap(MODEL, State(MODEL), 0, ())
    name = f"noria-{MODEL}-loop"
    change = {"metadata": {"annotations": {"backup.example.com/keep": "yes"}}}
    client.patch_merge(CONFIG_MAP, name, namespace, change)
    stored = store.load(MODEL)
    assert stored is not None
    store.compare_and_swap(MODEL, State(MODEL, losses=1), stored.revision, ())
    found = client.get(CONFIG_MAP, name, namespace)
    assert found is not None
    assert found["metadata"]["annotations"] == {"backup.example.com/keep": "yes"}


def test_a_write_whose_answer_is_lost_was_done_as_a_whole(
    store: KubeStore, client: KubeClient, namespace: str, cluster: Any
) -> None:
    class Cut(KubeClient):
        def replace(self, kind: Kind, body: Mapping[str, Any], namespace: str | None) -> Any:
            super().replace(kind, body, namespace)
            raise Unavailable("the line is cut")

    store.submit(MODEL, command("c1"))
    revision = store.compare_and_swap(MODEL, State(MODEL), 0, ())
    entries = chain(1)
    wish = State(MODEL, losses=1, head=entries[-1].head)
    with closing(Cut.connect(cluster.kubeconfig)) as cut, pytest.raises(Unavailable):
        KubeStore(cut, namespace).compare_and_swap(MODEL, wish, revision, entries, ("c1",))

    stored = store.load(MODEL)
    assert stored is not None
    assert stored.state == wish
    assert store.inbox(MODEL) == ()
    with pytest.raises(Conflict):
        store.compare_and_swap(MODEL, wish, revision, entries, ("c1",))
    assert list(store.entries(MODEL)) == entries


def test_the_model_owns_what_is_written_and_all_goes_with_it(
    store: KubeStore, client: KubeClient, namespace: str
) -> None:
    client.apply(CRD, crd(), None)
    eventually(lambda: client.has_kind(MODEL_KIND))
    body = yaml.safe_load(EXAMPLE.read_text())
    body["metadata"] = {"name": MODEL}
    client.create(MODEL_KIND, body, namespace)
    revision = store.compare_and_swap(MODEL, State(MODEL), 0, chain(200, said="x" * 1000))
    store.compare_and_swap(MODEL, State(MODEL), revision, ())
    store.submit(MODEL, command("c1"))

    def ours() -> list[dict[str, Any]]:
        return client.list(CONFIG_MAP, namespace, labels={"noria.dev/model": MODEL})

    assert len(ours()) == 3
    client.delete(MODEL_KIND, MODEL, namespace)
    eventually(lambda: ours() == [])


def test_the_store_needs_these_rights_and_no_more(
    client: KubeClient, cluster: Any, namespace: str
) -> None:
    everything = ["get", "list", "create", "update", "patch", "delete"]
    operator = account(client, cluster, namespace, "operator", everything)
    webhook = account(client, cluster, namespace, "webhook", ["get", "create", "patch"])
    with closing(KubeClient.connect(operator)) as one, closing(KubeClient.connect(webhook)) as two:
        now = [NOW]
        store = KubeStore(one, namespace, now=lambda: now[0])
        receiver = KubeStore(two, namespace, now=lambda: now[0])
        assert receiver.submit(MODEL, command("c1"))
        assert [message.id for message in store.inbox(MODEL)] == ["c1"]
        entries = chain(200, said="x" * 1000)
        revision = store.compare_and_swap(MODEL, State(MODEL), 0, entries, ("c1",))
        revision = store.compare_and_swap(MODEL, State(MODEL), revision, ())
        assert list(store.entries(MODEL)) == entries
        now[0] += timedelta(days=2)
        assert not receiver.submit(MODEL, command("c1"))
        now[0] += 2 * REMEMBERED
        assert receiver.submit(MODEL, command("c2"))
        revision = store.compare_and_swap(MODEL, State(MODEL), revision, (), ("c2",))
        store.compare_and_swap(MODEL, State(MODEL), revision, ())
        assert receiver.submit(MODEL, command("c1")), "it was forgotten, so it could be deleted"


def account(client: KubeClient, cluster: Any, namespace: str, name: str, verbs: list[str]) -> Path:
    """Return access as an account that may do these to ConfigMaps, and read models."""
    metadata = {"metadata": {"name": name}}
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs},
        {"apiGroups": [MODEL_KIND.group], "resources": [MODEL_KIND.plural], "verbs": ["get"]},
    ]
    client.create(SERVICE_ACCOUNT, metadata, namespace)
    client.create(ROLE, {**metadata, "rules": rules}, namespace)
    group = ROLE.group
    binding = {
        **metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    client.create(ROLE_BINDING, binding, namespace)
    return Path(cluster.kubeconfig_for(name, namespace))


def eventually(happened: Callable[[], bool], seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.1)
