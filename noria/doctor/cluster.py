"""What the checks look at: one cluster, and the services that an installation is pointed at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx

from noria.kube import KubeClient
from noria.kube.kinds import Kind
from noria.kube.kserve import KServe, read_kserve


@dataclass(frozen=True, slots=True)
class Expected:
    """What an installation is told, as the operator's ``NORIA_*`` variables say it."""

    namespace: str = "default"
    kfp_host: str = ""
    mlflow_uri: str = ""
    prometheus_url: str = ""
    gateway: str = ""
    traffic: str = "auto"
    runtime: str = "noria-server"
    storage_class: str = ""


class Cluster:
    """Reads a cluster; what several checks look at is read once.

    Args:
        client: The Kubernetes API.
        expected: What the installation is told.
        timeout: Seconds that a service outside of the API has to answer.
    """

    def __init__(self, client: KubeClient, expected: Expected, *, timeout: float = 5.0) -> None:
        self.client = client
        self.expected = expected
        self._timeout = timeout

    @cached_property
    def kserve(self) -> KServe:
        """What is known of KServe."""
        return read_kserve(self.client)

    def has(self, kind: Kind) -> bool:
        """Whether the cluster serves a kind."""
        return self.client.has_kind(kind)

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return an object, or None."""
        return self.client.get(kind, name, namespace)

    def list(self, kind: Kind, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return all objects of a kind."""
        return self.client.list(kind, namespace)

    def answer(self, url: str) -> int | str:
        """Return the HTTP status of a GET, or why there is none."""
        try:
            return httpx.get(url, timeout=self._timeout, trust_env=False).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return str(error) or type(error).__name__
