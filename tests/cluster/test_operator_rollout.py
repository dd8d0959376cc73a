"""The operator walks a Model from training to the champion, on a real API server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.controlplane.cluster import Cluster
from tests.cluster.operating import Traffic, World, closing, grant, install, resource

pytestmark = [
    pytest.mark.cluster,
    # MLflow registers in this process, and SQLAlchemy has news for it.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    played = Traffic(tmp_path_factory.mktemp("prometheus"))
    yield played
    played.close()


@pytest.fixture
def world(
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    kfp_server: Callable[..., Any],
    traffic: Traffic,
) -> Iterator[World]:
    install(cluster)
    kubeconfig = grant(cluster, namespace)
    yield from closing(World(cluster, namespace, tmp_path, kfp_server(), traffic, kubeconfig))


def test_a_model_is_trained_served_rolled_out_and_a_bad_candidate_aborted(world: World) -> None:
    world.start()
    world.wait_watching()
    world.apply(resource("flights"))
    first = world.train("flights")
    world.until(lambda: world.status("flights").get("champion") == first, "v1 is champion")
    world.until(
        lambda: world.condition("flights", "Ready")["status"] == "True", "the Model is ready"
    )
    assert world.split("flights") == {f"v{first}": 100}
    assert world.denied() == 0
