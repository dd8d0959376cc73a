"""How many servers of a version answer: its Deployment's own word."""

from __future__ import annotations

from noria.kube import KubeClient
from noria.kube.kinds import DEPLOYMENT


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
