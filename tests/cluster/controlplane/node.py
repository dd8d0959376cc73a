"""What the control plane lacks: a scheduler, a kubelet, a volume provisioner and a gateway.

The stand-in sets what these would set, and nothing else: it binds pods and says
that they run, it provides volumes for claims, it accepts routes. What follows
from that (replica sets, deployments, endpoints, bound claims, KServe's
conditions) is computed by the real controllers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from tests.cluster.controlplane import states
from tests.cluster.controlplane.plane import Access

NAME: Final = "stand-in"
_TICK: Final = 0.2
_ROUTES: Final = "/apis/gateway.networking.k8s.io/v1/httproutes"
_VOLUMES: Final = "/api/v1/persistentvolumes"
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_NOW: Final = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}

Object = Mapping[str, Any]


class Node:
    """A thread that plays one node, and every other Node object that a test creates.

    ``delay`` is how many seconds a pod needs from being bound to being ready;
    pods that may end (``restartPolicy`` other than ``Always``) succeed as much later.
    """

    def __init__(self, access: Access, *, delay: float = 0.2) -> None:
        self.delay = delay
        self._client = access.client()
        self._failing: frozenset[tuple[str, str]] = frozenset()
        self._routes_held = False
        self._since: dict[str, float] = {}
        self._addresses: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node stand-in", daemon=True)

    @classmethod
    @contextlib.contextmanager
    def start(cls, access: Access, *, delay: float = 0.2) -> Iterator[Node]:
        """Play until the ``with`` ends."""
        node = cls(access, delay=delay)
        node._register()
        node._thread.start()
        try:
            yield node
        finally:
            node._stop.set()
            node._thread.join()
            node._client.close()

    def fail(self, namespace: str, name: str) -> None:
        """Keep the pods of a workload from being ready, as a crashing container does.

        ``name`` is the Deployment's (or the StatefulSet's, the Job's, the bare pod's).
        Pods that are ready already become unready; pods that may end fail.
        """
        self._failing |= {(namespace, name)}

    def mend(self, namespace: str, name: str) -> None:
        """Undo `fail`."""
        self._failing -= {(namespace, name)}

    def hold_routes(self) -> None:
        """Accept no change of any HTTPRoute until `release_routes`, as a slow gateway does."""
        self._routes_held = True

    def release_routes(self) -> None:
        """Accept all routes again."""
        self._routes_held = False

    def _register(self) -> None:
        labels = {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux"}
        self._client.post("/api/v1/nodes", json={"metadata": {"name": NAME, "labels": labels}})
        self._patch(f"/api/v1/nodes/{NAME}/status", states.node())

    def _run(self) -> None:
        while not self._stop.wait(_TICK):
            # The API server may be restarting: a kubelet would try again too.
            with contextlib.suppress(httpx.HTTPError):
                self._pods()
                self._claims()
                if not self._routes_held:
                    self._routes()

    def _pods(self) -> None:
        nodes = self._list("/api/v1/nodes")
        pods = self._list("/api/v1/pods")
        living = {pod["metadata"]["uid"] for pod in pods}
        self._since = {uid: at for uid, at in self._since.items() if uid in living}
        for pod in pods:
            self._play(pod, nodes)

    def _play(self, pod: Object, nodes: list[Object]) -> None:
        path = _path("/api/v1", "pods", pod)
        if pod["metadata"].get("deletionTimestamp"):
            self._client.request("DELETE", path, json=_NOW)
            return
        if not pod["spec"].get("nodeName"):
            target = next((node for node in nodes if states.fits(pod, node)), None)
            if target is not None:
                self._client.post(f"{path}/binding", json=states.binding(pod, target))
            return
        uid = pod["metadata"]["uid"]
        now = time.monotonic()
        age = now - self._since.setdefault(uid, now)
        key = (pod["metadata"]["namespace"], states.workload(pod))
        wanted = states.phase(pod, age, self.delay, failing=key in self._failing)
        if wanted is not None and wanted != states.phase_now(pod):
            number = self._addresses.setdefault(uid, len(self._addresses))
            self._patch(f"{path}/status", states.pod(pod, wanted, number))

    def _claims(self) -> None:
        for claim in self._list("/api/v1/persistentvolumeclaims"):
            pending = claim.get("status", {}).get("phase") == "Pending"
            if pending and not claim["spec"].get("volumeName"):
                self._client.post(_VOLUMES, json=states.volume(claim))
        for volume in self._list(_VOLUMES):
            if volume.get("status", {}).get("phase") == "Released":
                self._client.delete(f"{_VOLUMES}/{volume['metadata']['name']}")

    def _routes(self) -> None:
        routes = self._list(_ROUTES)
        if not routes:
            return
        services = {
            (each["metadata"]["namespace"], each["metadata"]["name"])
            for each in self._list("/api/v1/services")
        }
        for route in routes:
            wanted = states.route(route, services)
            if not states.route_says(route, wanted):
                path = _path("/apis/gateway.networking.k8s.io/v1", "httproutes", route)
                self._patch(f"{path}/status", wanted)

    def _list(self, path: str) -> list[Object]:
        # From the API server's cache: asking ten times a second must cost next to nothing.
        answer = self._client.get(path, params={"resourceVersion": "0"})
        return list(answer.json()["items"]) if answer.is_success else []

    def _patch(self, path: str, body: Object) -> None:
        # A conflict or a vanished object is seen again, or no more, at the next tick.
        self._client.patch(path, json=body, headers=_MERGE)


def _path(group: str, plural: str, item: Object) -> str:
    metadata = item["metadata"]
    return f"{group}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"
