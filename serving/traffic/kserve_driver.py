"""What the drivers on KServe have in common: what they are made with, and one refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from noria.errors import TrafficError
from noria.kube import KubeClient
from serving.traffic.kserve_objects import Artifact, KServeOptions


class KServeDriver:
    """The beginning of a driver of ``noria.loop.ports.Traffic`` on KServe.

    Args:
        client: The Kubernetes API.
        namespace: Where the model lives.
        resolve: Says where a version's package is. Called once per deployment.
        options: How the model is served.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        resolve: Callable[[str, str], Artifact],
        options: KServeOptions,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._resolve = resolve
        self._options = options


def not_ready(model: str, down: Sequence[str], kind: str = "pod") -> TrafficError:
    """Return the refusal of a split; objects of ``kind`` tell what the versions wait for."""
    return TrafficError(
        f"{model}: version {', '.join(down)} is not ready",
        fix=f"deploy it and wait until it is; `kubectl describe {kind}` says what it waits for",
    )
