"""A control plane with KServe's CRDs and without its controller: a test plays that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noria.kube import KubeClient
from tests.cluster.controlplane import kserve
from tests.cluster.controlplane.node import Node
from tests.cluster.controlplane.plane import ControlPlane
from tests.cluster.serving_world import connect


@dataclass(frozen=True)
class Quiet:
    plane: ControlPlane
    node: Node
    client: KubeClient

    def namespace(self, name: str) -> str:
        """Make a namespace that pods can be made in."""
        self.plane.kubectl("create", "namespace", name)
        self.plane.kubectl(
            "wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=99s"
        )
        return name


@contextlib.contextmanager
def start(folder: Path) -> Iterator[Quiet]:
    with ControlPlane.start(folder) as plane, Node.start(plane.access) as node:
        kserve.install_crds(plane)
        yield Quiet(plane, node, connect(plane.kubeconfig))
