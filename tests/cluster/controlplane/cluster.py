"""The cluster that the tests run against: the user's own, or one that they start."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config

from noria.errors import InvalidInput
from tests.cluster.controlplane import build, kserve
from tests.cluster.controlplane.kubectl import Kubectl
from tests.cluster.controlplane.node import Node
from tests.cluster.controlplane.plane import ControlPlane


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kubernetes API with KServe, and the administrator's ways to it.

    ``plane`` and ``node`` are there only when the tests started the cluster
    themselves: a test that restarts the API server or fails a pod needs them.
    """

    kubeconfig: Path
    url: str
    admin: Any
    kubectl: Kubectl
    plane: ControlPlane | None = None
    node: Node | None = None

    def kubeconfig_for(self, service_account: str, namespace: str) -> Path:
        """Write a kubeconfig of an existing service account.

        Raises:
            ClusterError: there is no such account.
        """
        return self.kubectl.kubeconfig_for(service_account, namespace)


@contextlib.contextmanager
def connect(folder: Path) -> Iterator[Cluster]:
    """Give the cluster of ``KUBECONFIG`` when that is set, else one started in ``folder``.

    Raises:
        InvalidInput: ``KUBECONFIG`` names no file.
        NotInstalled: Go or etcd is missing.
        Unavailable: a program could not be built or started.
    """
    given = os.environ.get("KUBECONFIG")
    if given:
        yield _given(Path(given), folder)
        return
    with (
        ControlPlane.start(folder / "plane") as plane,
        kserve.start(plane),
        Node.start(plane.access) as node,
    ):
        yield Cluster(
            plane.kubeconfig, plane.url, _admin(plane.kubeconfig), plane.kubectl, plane, node
        )


def _given(kubeconfig: Path, folder: Path) -> Cluster:
    if not kubeconfig.is_file():
        raise InvalidInput(
            f"KUBECONFIG is {str(kubeconfig)!r}, which is no file",
            fix="name one kubeconfig, or unset it and a control plane is started",
        )
    found = shutil.which("kubectl")
    program = Path(found) if found else build.programs(build.CONTROL_PLANE)["kubectl"]
    admin = _admin(kubeconfig)
    return Cluster(
        kubeconfig, admin.configuration.host, admin, Kubectl(program, kubeconfig, folder)
    )


def _admin(kubeconfig: Path) -> client.ApiClient:
    return config.new_client_from_config(str(kubeconfig))
