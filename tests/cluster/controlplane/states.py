"""What a scheduler, a kubelet, a provisioner and a gateway write, as plain documents."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Set
from typing import Any, Final

Object = Mapping[str, Any]

_CONTROLLER: Final = "noria.dev/stand-in"
_READY: Final = "ready"
_UNREADY: Final = "unready"
_SUCCEEDED: Final = "Succeeded"
_FAILED: Final = "Failed"


def node() -> dict[str, Any]:
    """Return the status of a node with room for every test."""
    room = {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"}
    return {
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [_condition("Ready", "True", "KubeletReady")],
        }
    }


def fits(pod: Object, target: Object) -> bool:
    """Return whether a node has the labels that the pod selects nodes by."""
    labels = target["metadata"].get("labels") or {}
    wanted = pod["spec"].get("nodeSelector") or {}
    return all(labels.get(key) == value for key, value in wanted.items())


def binding(pod: Object, target: Object) -> dict[str, Any]:
    """Return the scheduler's decision."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod["metadata"]["name"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": target["metadata"]["name"]},
    }


def workload(pod: Object) -> str:
    """Return the name of the Deployment, StatefulSet or Job of a pod, else the pod's own."""
    metadata = pod["metadata"]
    owners = [each for each in metadata.get("ownerReferences") or () if each.get("controller")]
    if not owners:
        return str(metadata["name"])
    made_of = "-" + (metadata.get("labels") or {}).get("pod-template-hash", "")
    name = str(owners[0]["name"])
    return name.removesuffix(made_of) if owners[0]["kind"] == "ReplicaSet" else name


def phase(pod: Object, age: float, delay: float, *, failing: bool) -> str | None:
    """Return what a pod should be, ``age`` seconds after it was bound; None: nothing yet."""
    if phase_now(pod) in (_SUCCEEDED, _FAILED):
        return None
    ends = pod["spec"].get("restartPolicy", "Always") != "Always"
    if failing:
        return _FAILED if ends else _UNREADY
    if ends and age >= 2 * delay:
        return _SUCCEEDED
    return _READY if age >= delay else None


def phase_now(pod: Object) -> str:
    """Return what a pod's status says, in the words of `phase`."""
    status = pod.get("status") or {}
    if status.get("phase") != "Running":
        return str(status.get("phase", ""))
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    return _READY if conditions.get("Ready") == "True" else _UNREADY


def pod(given: Object, wanted: str, number: int) -> dict[str, Any]:
    """Return the status of a pod; ``number`` makes its address."""
    ready = "True" if wanted == _READY else "False"
    address = f"10.244.{number // 250 % 250}.{number % 250 + 2}"
    types = {"PodScheduled": "True", "Initialized": "True", "ContainersReady": ready}
    return {
        "status": {
            "phase": "Running" if wanted in (_READY, _UNREADY) else wanted,
            "observedGeneration": given["metadata"].get("generation"),
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "127.0.0.1",
            "startTime": given["status"].get("startTime") or _now(),
            "conditions": [
                _condition(name, value, "StandIn")
                for name, value in (types | {"Ready": ready}).items()
            ],
            "initContainerStatuses": [
                _container(each, _ended(0)) for each in given["spec"].get("initContainers") or ()
            ],
            "containerStatuses": [
                _container(each, _state(wanted), ready=wanted == _READY)
                for each in given["spec"]["containers"]
            ],
        }
    }


def volume(claim: Object) -> dict[str, Any]:
    """Return a volume for one claim; the real binder binds the two."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}"},
        "spec": {
            "capacity": spec["resources"]["requests"],
            "accessModes": spec["accessModes"],
            "storageClassName": spec.get("storageClassName", ""),
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"/nonexistent/{metadata['uid']}"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }


def route(given: Object, services: Set[tuple[str, str]]) -> dict[str, Any]:
    """Return what a gateway says of a route: accepted, and whether its backends exist."""
    generation = given["metadata"].get("generation")
    missing = sorted(_backends(given) - services)
    found = ("False", "BackendNotFound") if missing else ("True", "ResolvedRefs")
    conditions = [
        _condition("Accepted", "True", "Accepted", generation),
        _condition("ResolvedRefs", *found, generation),
    ]
    parents = given["spec"].get("parentRefs") or ()
    return {
        "status": {
            "parents": [
                {"parentRef": parent, "controllerName": _CONTROLLER, "conditions": conditions}
                for parent in parents
            ]
        }
    }


def route_says(given: Object, wanted: Object) -> bool:
    """Return whether a route's status says the same already, times aside."""
    return _verdicts(given.get("status") or {}) == _verdicts(wanted["status"])


def _verdicts(status: Object) -> list[tuple[Any, ...]]:
    return [
        (each["type"], each["status"], each.get("observedGeneration"))
        for parent in status.get("parents") or ()
        for each in parent.get("conditions") or ()
    ]


def _backends(given: Object) -> set[tuple[str, str]]:
    home = given["metadata"]["namespace"]
    return {
        (backend.get("namespace", home), backend["name"])
        for rule in given["spec"].get("rules") or ()
        for backend in rule.get("backendRefs") or ()
        if backend.get("kind", "Service") == "Service"
    }


def _container(given: Object, state: Object, *, ready: bool = True) -> dict[str, Any]:
    return {
        "name": given["name"],
        "image": given["image"],
        "imageID": given["image"],
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }


def _state(wanted: str) -> dict[str, Any]:
    if wanted == _READY:
        return {"running": {"startedAt": _now()}}
    if wanted == _UNREADY:
        return {"waiting": {"reason": "CrashLoopBackOff", "message": "told to fail by a test"}}
    return _ended(0 if wanted == _SUCCEEDED else 1)


def _ended(code: int) -> dict[str, Any]:
    reason = "Error" if code else "Completed"
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": _now()}}


def _condition(
    name: str, status: str, reason: str, generation: int | None = None
) -> dict[str, Any]:
    observed = {} if generation is None else {"observedGeneration": generation}
    return {
        "type": name,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": _now(),
    } | observed


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
