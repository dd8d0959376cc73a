"""A real Kubernetes API for every test in this folder.

``KUBECONFIG`` names it; with none, one is started here, with KServe's controller
(see `controlplane`). All tests here carry the marker ``cluster``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import pytest

from tests.cluster.controlplane.cluster import Cluster, connect


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("cluster")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with connect(tmp_path_factory.mktemp("cluster")) as connected:
        yield connected


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace; its deletion is asked for, and not waited for."""
    name = f"noria-test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    ends = time.monotonic() + 30
    # Pods can be made only when the controller manager has made the account they run as.
    while not cluster.kubectl(
        "get", "serviceaccount", "default", f"--namespace={name}", "--ignore-not-found"
    ):
        assert time.monotonic() < ends, f"namespace {name} got no service account"
        time.sleep(0.1)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
