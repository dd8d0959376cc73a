"""The page over the Models of a namespace: status, store and inbox on a real API server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from noria.kube import KubeClient
from noria.kube.kinds import CRD, MODEL, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from noria.kube.store import KubeStore
from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.state import TrafficView
from noria.operator.status import Seen, status_of
from noria.places.cluster import Namespace
from noria.spec.schema.crd import crd
from noria.ui.app import Options
from tests.ui.places import breaker, canary, form, running, send, serving

pytestmark = pytest.mark.cluster
NOBODY = "http://127.0.0.1:9/{namespace}/{model}"


@pytest.fixture
def client(cluster: Any) -> Iterator[KubeClient]:
    with closing(KubeClient.connect(cluster.kubeconfig)) as made:
        made.apply(CRD, crd(), None)
        ends = time.monotonic() + 120
        while not made.has_kind(MODEL):
            assert time.monotonic() < ends
            time.sleep(0.1)
        yield made


@pytest.fixture
def pages(client: KubeClient, namespace: str) -> Iterator[httpx.Client]:
    source = Namespace(client, namespace, monitor_url=NOBODY)
    with running(source, options=Options(person="ann", cluster=True)) as served:
        yield served


def turned(
    client: KubeClient, namespace: str, name: str, make: Callable[[FakeWorld], None]
) -> FakeWorld:
    """Make a Model whose loop was turned, with the status that the operator writes then."""
    sample = sample_model()
    document = sample.model_dump(mode="json", by_alias=True, exclude_unset=True)
    document["metadata"] = {"name": name}
    body = client.create(MODEL, document, namespace)
    model = sample.model_copy(
        update={"metadata": sample.metadata.model_copy(update={"name": name})}
    )
    world = FakeWorld(model, store=KubeStore(client, namespace))
    make(world)
    seen = Seen(
        TrafficView(world.traffic.ready(name), world.traffic.weights(name)),
        url=f"http://{name}.example",
        revision=1,
    )
    now = datetime.now(UTC)
    status = status_of(model, world.state, seen, generation=1, before={}, now=now)
    client.patch_status(MODEL, body["metadata"]["name"], namespace, status)
    return world


def test_an_empty_namespace_says_what_to_do_next(pages: httpx.Client, namespace: str) -> None:
    page = pages.get("/").text
    assert f"kubectl apply -n {namespace} -f my-model/model.yaml" in page
    assert "네임스페이스" in pages.get("/?lang=ko").text


def test_the_overview_is_the_status_of_the_models(
    client: KubeClient, namespace: str, pages: httpx.Client
) -> None:
    turned(client, namespace, "calm", serving)
    turned(client, namespace, "flights", canary)
    turned(client, namespace, "unlucky", breaker)
    document = sample_model().model_dump(mode="json", by_alias=True, exclude_unset=True)
    client.create(MODEL, {**document, "metadata": {"name": "young"}}, namespace)
    page = pages.get("/").text
    assert page.index("/models/unlucky") < page.index("/models/calm")
    assert "loop-breaker: 3 candidates in a row were shown worse or failed in canary" in page
    assert "canary of v2" in page
    assert "step 2 of 2 (50 %)" in page
    assert "v1 50 %, v2 50 %" in page
    assert "not started" in page
    assert "1 need attention" in page


def test_a_pause_goes_through_the_inbox_to_the_loop(
    client: KubeClient, namespace: str, pages: httpx.Client
) -> None:
    world = turned(client, namespace, "flights", canary)
    page = pages.get("/models/flights").text
    assert "v2 is to replace v1" in page
    assert "The monitor does not answer" in page  # it is reached from inside the cluster
    assert "The chain of hashes holds" in page
    fields = form(pages, "flights", "pause")
    answers = [send(pages, "flights", "pause", fields) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    there = answers[0].headers["location"]
    assert "Accepted: Pause" in pages.get(there).text
    assert len(KubeStore(client, namespace).inbox("flights")) == 1
    world.cycle()
    assert world.state.rollout is not None
    assert world.state.rollout.paused is not None
    assert "Done: Pause." in pages.get(there).text
    ledger = pages.get("/models/flights/ledger?kind=command").text
    assert "ann (because) paused the rollout of v2" in ledger
    assert pages.get("/models/nobody").status_code == 404


def test_an_account_that_may_only_look_can_not_press(
    cluster: Any, client: KubeClient, namespace: str
) -> None:
    turned(client, namespace, "flights", canary)
    metadata = {"metadata": {"name": "looker"}}
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
        {"apiGroups": [MODEL.group], "resources": [MODEL.plural], "verbs": ["get", "list"]},
    ]
    reference = {"apiGroup": ROLE.group, "kind": "Role", "name": "looker"}
    subject = {"kind": "ServiceAccount", "name": "looker", "namespace": namespace}
    client.create(SERVICE_ACCOUNT, metadata, namespace)
    client.create(ROLE, {**metadata, "rules": rules}, namespace)
    binding = {**metadata, "roleRef": reference, "subjects": [subject]}
    client.create(ROLE_BINDING, binding, namespace)
    with closing(KubeClient.connect(cluster.kubeconfig_for("looker", namespace))) as looker:
        source = Namespace(looker, namespace, monitor_url=NOBODY)
        with running(source, options=Options(cluster=True)) as pages:
            assert "canary of v2" in pages.get("/").text
            assert "v2 is to replace v1" in pages.get("/models/flights").text
            answer = send(pages, "flights", "abort", form(pages, "flights", "abort"))
            assert answer.status_code == 503
            assert "configmaps" in answer.text
            assert "Traceback" not in answer.text
    assert KubeStore(client, namespace).inbox("flights") == ()
