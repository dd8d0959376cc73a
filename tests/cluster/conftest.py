"""A real Kubernetes API for every test in this folder.

``KUBECONFIG`` names it; with none, one is started here, with KServe's controller
(see `controlplane`). All tests here carry the marker ``cluster``.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from noria.errors import ClusterError
from tests.cluster.controlplane import build
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
    ends = time.monotonic() + 120
    # Pods can be made only when the controller manager has made the account they run as.
    while not cluster.kubectl(
        "get", "serviceaccount", "default", f"--namespace={name}", "--ignore-not-found"
    ):
        assert time.monotonic() < ends, f"namespace {name} got no service account"
        time.sleep(0.1)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What model servers would count, with a real Prometheus that scrapes it."""
    from tests.cluster.operating import Traffic

    played = Traffic(tmp_path_factory.mktemp("prometheus"))
    yield played
    played.close()


@pytest.fixture
def world(
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    kfp_server: Callable[..., Any],
    traffic: Any,
) -> Iterator[Any]:
    """A namespace with all that the operator works with, and exactly its rights."""
    from tests.cluster.operating import World, closing, grant, install

    install(cluster)
    kubeconfig = grant(cluster, namespace)
    yield from closing(World(cluster, namespace, tmp_path, kfp_server(), traffic, kubeconfig))


@pytest.fixture
def nobody_elses(cluster: Cluster) -> None:
    """A cluster that somebody uses keeps what it has: releases take it over and remove it."""
    if cluster.plane is None and cluster.kubectl(
        "get", "clusterstoragecontainer", "noria-models", "--ignore-not-found", "--output=name"
    ):
        pytest.skip("Noria is installed in this cluster")


@pytest.fixture
def helm(cluster: Cluster, tmp_path: Path) -> Callable[..., str]:
    """The pinned Helm, with nothing of the user's; it returns what it printed."""
    program = build.programs(build.HELM)["helm"]
    homes = {f"HELM_{name}_HOME": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA")}
    homes |= {"KUBECACHEDIR": str(tmp_path / "kube"), "KUBECONFIG": str(cluster.kubeconfig)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(program), *arguments],
            env=os.environ | homes, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ClusterError(f"helm {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    return run
