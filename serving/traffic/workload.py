"""Reading and writing the cluster's objects, for every driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from noria.kube import KubeClient
from noria.kube.kinds import DEPLOYMENT, POD, Kind
from serving.traffic.kserve_objects import MODEL_LABEL, VERSION_LABEL, VISIBILITY

_MOST_WORDS: Final = 400
_STARTING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons for which a container waits while all is well."""


def available(client: KubeClient, namespace: str, name: str) -> int:
    """Return how many pods of a Deployment are available; 0 when there is none."""
    found = client.get(DEPLOYMENT, name, namespace)
    if found is None or "deletionTimestamp" in found["metadata"]:
        return 0
    status = found.get("status", {})
    ready = int(status.get("availableReplicas", 0))
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 0):
        # The count is from before a change of the wanted number: no more than that will stay.
        return min(ready, int(found["spec"].get("replicas", 1)))
    return ready


def why_down(
    client: KubeClient, namespace: str, model: str, version: str, service: Mapping[str, Any]
) -> str:
    """Return why the servers of a version don't come up, or nothing where they only start.

    What KServe tells of its InferenceService comes first. It tells nothing of a pod that no node
    has room for or whose image can't be pulled: that is what the pods themselves say.
    """
    return _failure(service) or _of_pods(
        client.list(POD, namespace, labels={MODEL_LABEL: model, VERSION_LABEL: version})
    )


def _of_pods(pods: Iterable[Mapping[str, Any]]) -> str:
    for pod in pods:
        status = pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return _words(condition)
        for kind in ("initContainerStatuses", "containerStatuses"):
            for container in status.get(kind) or ():
                waiting = (container.get("state") or {}).get("waiting") or {}
                if waiting.get("reason", "") not in _STARTING:
                    return _words(waiting)
    return ""


def _words(said: Mapping[str, Any]) -> str:
    words = ": ".join(str(said[key]) for key in ("reason", "message") if said.get(key))
    return words[:_MOST_WORDS]


def _failure(service: Mapping[str, Any]) -> str:
    """Return what KServe v1beta1 says in ``status.modelStatus.lastFailureInfo``.

    Conditions are false while servers only start, too.
    """
    status = service.get("status") or {}
    info = (status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    return _words(info)


def write_spec(
    client: KubeClient,
    kind: Kind,
    seen: Mapping[str, Any],
    spec: Mapping[str, Any],
    *,
    visible: bool = False,
) -> None:
    """Replace what an object asks for, if nobody asked for something else since it was seen.

    Its generation is compared and not its resource version: controllers write its status all
    the time, and that is no reason to decide again. With ``visible``, the label that hides an
    InferenceService from the outside goes too. Nothing is written when it is so already.

    Raises:
        Conflict: Somebody else changed it, or it is gone. Nothing changed.
    """
    metadata = seen["metadata"]
    operations: list[dict[str, Any]] = []
    if spec != seen["spec"]:
        operations.append({"op": "replace", "path": "/spec", "value": spec})
    if visible and VISIBILITY in metadata.get("labels", {}):
        path = f"/metadata/labels/{VISIBILITY.replace('/', '~1')}"
        operations.append({"op": "test", "path": path, "value": metadata["labels"][VISIBILITY]})
        operations.append({"op": "remove", "path": path})
    if operations:
        same = [
            {"op": "test", "path": f"/metadata/{key}", "value": metadata[key]}
            for key in ("uid", "generation")
        ]
        client.patch_json(kind, metadata["name"], metadata["namespace"], [*same, *operations])
