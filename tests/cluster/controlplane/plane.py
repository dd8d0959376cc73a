"""A real Kubernetes control plane on loopback: etcd, API server and controller manager.

No node and no scheduler: `node.Node` plays them. All else is real: admission,
RBAC, service account tokens, garbage collection, the workload controllers.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.cluster.controlplane import build, pki
from tests.cluster.controlplane.kubectl import Kubectl
from tests.cluster.controlplane.process import Child, free_ports

_START: Final = 60.0
_SERVICES: Final = "10.96.0.0/16"
# Pods are set up by a stand-in that sends no heartbeats: these would evict its pods.
_NODE_CONTROLLERS: Final = (
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "node-ipam-controller",
    "node-route-controller",
)


@dataclass(frozen=True, slots=True)
class Access:
    """Where a Kubernetes API is and who asks it."""

    kubeconfig: Path
    url: str
    ca: Path
    token: str

    def client(self) -> httpx.Client:
        """Return an HTTP client with this identity; paths are relative to the API server."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}"},
            verify=ssl.create_default_context(cafile=str(self.ca)),
            timeout=30.0,
            trust_env=False,
        )


def write_kubeconfig(path: Path, url: str, ca: Path, token: str, namespace: str = "") -> Access:
    """Write a kubeconfig of one user with a bearer token, readable by its owner alone."""
    context: dict[str, Any] = {"cluster": "tests", "user": "user"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [
            {"name": "tests", "cluster": {"server": url, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [
            {
                "name": "tests",
                "context": context | ({"namespace": namespace} if namespace else {}),
            }
        ],
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    return Access(path, url, ca, token)


class ControlPlane:
    """A running control plane; `start` makes one, leaving its ``with`` kills all of it."""

    def __init__(self, folder: Path) -> None:
        programs = build.programs(build.CONTROL_PLANE)
        self.folder = folder
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True)
        etcd_port, peer_port, port, manager_port = free_ports(4)
        authority = pki.Authority(folder / "pki", "noria-tests")
        hosts = ("127.0.0.1", "localhost", "10.96.0.1", "kubernetes.default.svc")
        serving = authority.issue("kube-apiserver", hosts)
        signing = pki.signing_pair(folder / "pki")
        self._access = write_kubeconfig(
            folder / "admin.kubeconfig",
            f"https://127.0.0.1:{port}",
            authority.certificate,
            secrets.token_urlsafe(24),
        )
        self.kubectl = Kubectl(programs["kubectl"], self.kubeconfig, folder)
        tokens = folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self.token},admin,admin,"system:masters"\n')
        etcd_url = f"http://127.0.0.1:{etcd_port}"
        self._http = self._access.client()
        self._etcd = self._child(
            "etcd", build.etcd(), _etcd(folder, etcd_url, f"http://127.0.0.1:{peer_port}")
        )
        self._apiserver = self._child(
            "kube-apiserver",
            programs["kube-apiserver"],
            _apiserver(etcd_url, port, tokens, serving, signing),
        )
        self._manager = self._child(
            "kube-controller-manager",
            programs["kube-controller-manager"],
            _manager(self._access, manager_port, signing),
        )

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path) -> Iterator[ControlPlane]:
        """Start a control plane that keeps all its files in ``folder``; says how long it took.

        Raises:
            NotInstalled: Go or etcd is missing.
            Unavailable: a program could not be built, or did not start.
        """
        plane = cls(folder)
        began = time.monotonic()
        try:
            plane._etcd.start()
            plane._apiserver.start()
            # It may start before etcd answers: it waits for it by itself.
            plane._apiserver.wait(plane._ready, _START)
            plane._manager.start()
            plane._manager.wait(plane._has_default_account, _START)
            took = time.monotonic() - began
            print(f"control plane {plane.url}: ready in {took:.1f} s", file=sys.stderr)
            yield plane
        finally:
            plane._stop()

    @property
    def access(self) -> Access:
        """The administrator's access."""
        return self._access

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._access.kubeconfig

    @property
    def url(self) -> str:
        """The API server's URL."""
        return self._access.url

    @property
    def ca(self) -> Path:
        """The certificate authority of the API server, as a PEM file."""
        return self._access.ca

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self._access.token

    def kubeconfig_for(self, service_account: str, namespace: str) -> Path:
        """Write a kubeconfig with a fresh one-hour token of an existing service account.

        Raises:
            ClusterError: there is no such account.
        """
        return self.kubectl.kubeconfig_for(service_account, namespace)

    def child(self, name: str, program: Path, *arguments: str, **environment: str) -> Child:
        """Return another program of this cluster, not yet started; it logs beside the others."""
        return self._child(name, program, arguments, environment)

    def restart_apiserver(self) -> None:
        """Kill the API server, start it again on its port and wait until it answers.

        Raises:
            Unavailable: it did not come back.
        """
        self._apiserver.kill()
        self._apiserver.start()
        self._apiserver.wait(self._ready, _START)

    def _child(
        self,
        name: str,
        program: Path,
        arguments: Sequence[str],
        environment: dict[str, str] | None = None,
    ) -> Child:
        return Child(name, [str(program), *arguments], self._logs, environment or {})

    def _ready(self) -> bool:
        return self._answers("/readyz")

    def _has_default_account(self) -> bool:
        return self._answers("/api/v1/namespaces/default/serviceaccounts/default")

    def _answers(self, path: str) -> bool:
        try:
            return self._http.get(path).is_success
        except httpx.HTTPError:
            return False

    def _stop(self) -> None:
        for child in (self._manager, self._apiserver, self._etcd):
            child.kill()
        self._http.close()


def _etcd(folder: Path, url: str, peer: str) -> list[str]:
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # The data dies with the tests: waiting for the disk would only slow them.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(
    etcd: str, port: int, tokens: Path, serving: pki.Pair, signing: pki.Pair
) -> list[str]:
    return [
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--token-auth-file={tokens}",
        f"--service-cluster-ip-range={_SERVICES}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={signing.certificate}",
        f"--service-account-signing-key-file={signing.key}",
        "--allow-privileged=true",
        # Nothing here has many clients, and a queue would only blur a slow test.
        "--enable-priority-and-fairness=false",
        "--endpoint-reconciler-type=none",
    ]


def _manager(access: Access, port: int, signing: pki.Pair) -> list[str]:
    off = ",".join(f"-{name}" for name in _NODE_CONTROLLERS)
    return [
        *(
            f"--{prefix}kubeconfig={access.kubeconfig}"
            for prefix in ("", "authentication-", "authorization-")
        ),
        f"--controllers=*,{off}",
        f"--service-account-private-key-file={signing.key}",
        f"--root-ca-file={access.ca}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={access.kubeconfig.parent / 'manager'}",
        # Nothing is measured here; it only brings replicas up to their minimum.
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
