"""Plays KServe >= 0.21 in Standard mode, for a cluster whose controller is older or absent.

It follows what KServe documents of ``spec.canary`` (and its controller does): the order in
which one reconciliation does things matters here, because the dangers that the driver avoids
come from it. Deployments and Services are real ones, brought up by the real controllers.
After each step it looks whether a route leads to a Service without servers: ``outages``.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from noria.errors import NoriaError
from noria.kube import KubeClient
from noria.kube.kinds import DEPLOYMENT, HTTP_ROUTE, INFERENCE_SERVICE, SERVICE

_OWNER = "serving.kserve.io/inferenceservice"
_VISIBILITY = "networking.kserve.io/visibility"
Object = Mapping[str, Any]


class StandardKServe:
    """A thread that reconciles every InferenceService of one namespace."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.outages: list[str] = []
        self.refusals: list[str] = []
        self._client = client
        self._namespace = namespace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kserve stand-in", daemon=True)

    @classmethod
    @contextlib.contextmanager
    def start(cls, client: KubeClient, namespace: str) -> Iterator[StandardKServe]:
        made = cls(client, namespace)
        made._thread.start()
        try:
            yield made
        finally:
            made._stop.set()
            made._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            # A write that lost is seen again at the next round, as a requeue is.
            with contextlib.suppress(NoriaError):
                for service in self._client.list(INFERENCE_SERVICE, self._namespace):
                    metadata = service["metadata"]
                    if "deletionTimestamp" not in metadata and "labels" in metadata:
                        self._reconcile(service)

    def _reconcile(self, service: Object) -> None:
        name, spec = service["metadata"]["name"], service["spec"]
        stable, canaries = spec["predictor"], spec.get("canary", [])
        self.refusals += refused(spec)
        ready: dict[str, bool] = {}
        for canary in canaries:
            count = _canary_replicas(stable, canary)
            self._workload(service, canary["predictor"], count)
            ready[canary["predictor"]["name"]] = self._up(name, canary["predictor"])
        self._sweep(name, {_name(name, p) for p in (stable, *(c["predictor"] for c in canaries))})
        beside = sum(
            _canary_replicas(stable, canary)
            for canary in canaries
            if ready[canary["predictor"]["name"]]
        )
        wanted = stable.get("minReplicas", 1)
        self._workload(service, stable, max(wanted - beside, 1) if beside else wanted)
        up = self._up(name, stable)
        self._look(name)
        internal = service["metadata"].get("labels", {}).get(_VISIBILITY) == "cluster-local"
        if up and not internal:
            for route in (f"{name}-predictor", name):
                self._route(service, route, ready)
        self._look(name)
        self._say(service, ready, up=up)

    def _workload(self, service: Object, predictor: Object, replicas: int) -> None:
        name = _name(service["metadata"]["name"], predictor)
        app = {"app": f"isvc.{name}"}
        labels = {**app, _OWNER: service["metadata"]["name"], **predictor.get("labels", {})}
        server = predictor["model"] if "model" in predictor else predictor["containers"][0]
        template = {
            "metadata": {"labels": labels},
            "spec": {
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": "example.test/server:1",
                        "args": server.get("args", []),
                    }
                ]
            },
        }
        body = {
            "metadata": {"name": name, "labels": labels, "ownerReferences": [_owner(service)]},
            "spec": {"replicas": replicas, "selector": {"matchLabels": app}, "template": template},
        }
        self._client.apply(DEPLOYMENT, body, self._namespace, manager="kserve")
        ports = [{"port": 80, "targetPort": 8080, "name": "http1"}]
        service_body = {"metadata": body["metadata"], "spec": {"selector": app, "ports": ports}}
        self._client.apply(SERVICE, service_body, self._namespace, manager="kserve")

    def _sweep(self, name: str, wanted: set[str]) -> None:
        for kind in (DEPLOYMENT, SERVICE):
            for found in self._client.list(kind, self._namespace, labels={_OWNER: name}):
                if found["metadata"]["name"] not in wanted:
                    self._client.delete(kind, found["metadata"]["name"], self._namespace)

    def _up(self, name: str, predictor: Object) -> bool:
        found = self._client.get(DEPLOYMENT, _name(name, predictor), self._namespace)
        return bool(found and found.get("status", {}).get("availableReplicas", 0))

    def _route(self, service: Object, route: str, ready: Mapping[str, bool]) -> None:
        name, spec = service["metadata"]["name"], service["spec"]
        canaries = [c for c in spec.get("canary", []) if ready[c["predictor"]["name"]]]
        backends = [{"name": _name(name, spec["predictor"]), "port": 80}]
        if spec.get("canary"):
            backends[0]["weight"] = 100 - sum(c["trafficPercent"] for c in canaries)
        backends += [
            {"name": _name(name, c["predictor"]), "port": 80, "weight": c["trafficPercent"]}
            for c in canaries
        ]
        body = {
            "metadata": {"name": route, "ownerReferences": [_owner(service)]},
            "spec": {
                "hostnames": [f"{route}.models.test"],
                "parentRefs": [{"name": "kserve-ingress-gateway", "namespace": "kserve"}],
                "rules": [{"backendRefs": backends}],
            },
        }
        self._client.apply(HTTP_ROUTE, body, self._namespace, manager="kserve")

    def _say(self, service: Object, ready: Mapping[str, bool], *, up: bool) -> None:
        conditions = [{"type": "PredictorReady", "status": "True" if up else "False"}]
        if ready:
            all_up = all(ready.values())
            conditions.append(
                {"type": "CanaryPredictorReady", "status": "True" if all_up else "False"}
            )
        statuses = [
            {
                "name": canary["predictor"]["name"],
                "ready": ready[canary["predictor"]["name"]],
                "trafficPercent": canary["trafficPercent"],
                "modelStatus": {"transitionStatus": "UpToDate"},
            }
            for canary in service["spec"].get("canary", [])
        ]
        status = {"conditions": conditions, "canaryStatuses": statuses or None}
        before = service.get("status", {})
        if any(before.get(key) != value for key, value in status.items()):
            name = service["metadata"]["name"]
            self._client.patch_status(INFERENCE_SERVICE, name, self._namespace, status)

    def _look(self, name: str) -> None:
        """Note every Service that a route leads to and that has no servers."""
        for route in self._client.list(HTTP_ROUTE, self._namespace):
            if route["metadata"]["name"] not in (name, f"{name}-predictor"):
                continue
            for rule in route["spec"]["rules"]:
                for backend in rule["backendRefs"]:
                    found = self._client.get(DEPLOYMENT, backend["name"], self._namespace)
                    up = found and found.get("status", {}).get("availableReplicas", 0)
                    if backend.get("weight", 1) and not up:
                        self.outages.append(f"{route['metadata']['name']} -> {backend['name']}")


def refused(spec: Object) -> list[str]:
    """Return what KServe's webhook would refuse."""
    stable, canaries = spec["predictor"], spec.get("canary", [])
    names = [stable.get("name"), *(c["predictor"].get("name") for c in canaries)]
    found = [] if len(set(names)) == len(names) and all(names) else [f"names {names}"]
    if sum(c["trafficPercent"] for c in canaries) > 100:
        found.append("more than 100 percent")
    for canary in canaries:
        predictor = canary["predictor"]
        if predictor.get("minReplicas", 0) > stable.get("minReplicas", 1):
            found.append(f"{predictor['name']}: minReplicas above the stable predictor's")
        extra = {"maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"} & predictor.keys()
        found += [f"{predictor['name']}: {key}" for key in sorted(extra)]
    return found


def _canary_replicas(stable: Object, canary: Object) -> int:
    if "minReplicas" in canary["predictor"]:
        return int(canary["predictor"]["minReplicas"])
    return math.ceil(stable.get("minReplicas", 1) * canary["trafficPercent"] / 100)


def _name(service: str, predictor: Object) -> str:
    return f"{service}-{predictor['name']}-predictor"


def _owner(service: Object) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "name": service["metadata"]["name"],
        "uid": service["metadata"]["uid"],
        "controller": True,
    }
