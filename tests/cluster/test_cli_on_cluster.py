"""``noria status``, ``why``, ``rollout`` and ``ledger verify`` on the Models of a namespace."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner, Result

from noria.cli.app import application
from noria.kube import KubeClient
from noria.kube.kinds import CRD, MODEL
from noria.kube.store import KubeStore
from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.state import TrafficView
from noria.loop.values import Command, Verb
from noria.operator.status import Seen, status_of
from noria.spec.schema.crd import crd
from tests.cluster.controlplane.cluster import Cluster

pytestmark = pytest.mark.cluster
Noria = Callable[..., Result]


@pytest.fixture
def client(cluster: Cluster) -> Iterator[KubeClient]:
    with closing(KubeClient.connect(cluster.kubeconfig)) as made:
        made.apply(CRD, crd(), None)
        ends = time.monotonic() + 120
        while not made.has_kind(MODEL):
            assert time.monotonic() < ends
            time.sleep(0.1)
        yield made


@pytest.fixture
def noria(cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Noria:
    """Run a command on the namespace of the test."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(application(), [*arguments, f"--namespace={namespace}"])

    return run


@pytest.fixture
def world(client: KubeClient, namespace: str) -> FakeWorld:
    """A Model whose first version serves; its status is as the operator writes it."""
    model = sample_model()
    document = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    client.create(MODEL, document, namespace)
    world = FakeWorld(model, store=KubeStore(client, namespace))
    world.install()
    name = model.name
    seen = Seen(TrafficView(world.traffic.ready(name), world.traffic.weights(name)))
    now = datetime.now(UTC)
    status = status_of(model, world.state, seen, generation=1, before={}, now=now)
    client.patch_status(MODEL, name, namespace, status)
    return world


def test_status_is_what_the_operator_told(noria: Noria, world: FakeWorld, namespace: str) -> None:
    said = noria("status").stdout
    assert f"{world.model.name}: serving\n" in said
    assert "  champion      v1\n" in said
    assert "  traffic       v1 100 %\n" in said
    assert f"next: noria why {world.model.name} --namespace {namespace}" in said
    (told,) = json.loads(noria("status", "--json").stdout)["models"]
    assert (told["name"], told["champion"]) == (world.model.name, "1")


def test_status_says_when_no_operator_looks(
    noria: Noria, client: KubeClient, namespace: str
) -> None:
    assert f"next: kubectl apply -n {namespace}" in noria("status").stdout
    document = sample_model().model_dump(mode="json", by_alias=True, exclude_unset=True)
    client.create(MODEL, document, namespace)
    assert "no operator has looked at it yet" in noria("status").stdout
    said = noria("rollout", "pause", sample_model().name).stdout
    assert "no loop runs here to act on it" in said
    assert f"next: noria doctor --namespace {namespace}" in said


def test_why_is_the_whole_ledger_and_its_chain_holds(
    noria: Noria, world: FakeWorld, namespace: str
) -> None:
    name = world.model.name
    said = noria("why", name, "--last", "0").stdout
    assert "v1 is the champion" in said
    assert f"next: noria ledger verify {name} --namespace {namespace}" in said
    verified = noria("ledger", "verify").stdout
    assert f"{name}: {world.state.head.sequence} decisions, unbroken" in verified


def test_a_command_reaches_the_loop_by_its_inbox(
    noria: Noria, world: FakeWorld, client: KubeClient, namespace: str
) -> None:
    name = world.model.name
    said = noria("rollout", "retrain", name, "-m", "new prices", "--by", "ann").stdout
    assert "in the loop's inbox; it acts on it in its next cycle" in said
    (command,) = KubeStore(client, namespace).inbox(name)
    assert isinstance(command, Command)
    assert (command.verb, command.by, command.reason) == (Verb.TRAIN, "ann", "new prices")
    world.cycle()
    assert "ann (new prices)" in noria("why", name).stdout


def test_a_model_that_is_not_there_is_named_and_nothing_is_written(
    noria: Noria, world: FakeWorld, client: KubeClient, namespace: str
) -> None:
    for command in (
        ("why", "nobody"),
        ("rollout", "abort", "nobody"),
        ("ledger", "verify", "nobody"),
    ):
        ran = noria(*command)
        assert ran.exit_code == 2
        assert f"there is no Model 'nobody' in the namespace '{namespace}'" in ran.stderr
    assert KubeStore(client, namespace).inbox("nobody") == ()
