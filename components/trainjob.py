"""Training on several nodes: a Kubeflow Trainer v2 ``TrainJob``, made, followed and cleaned up.

The TrainJob's name follows from the run, so a component that was killed and
tried again finds the job that its forerunner made and waits for that one.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from components.placement import GPU_RESOURCE, SHARED_MEMORY, node_selector, tolerations
from noria.errors import Conflict, NoriaError, TrainingError, Unavailable
from noria.kube import KubeClient
from noria.kube.kinds import TRAIN_JOB
from noria.spec import Compute, format_bytes

RUNTIME: Final = "torch-distributed"
"""The ClusterTrainingRuntime that Kubeflow Trainer installs for PyTorch."""

_PLAN: Final = "noria.dev/plan"
_NODE: Final = "node"  # name of the runtime's job of training nodes, and of its container


def job_name(run_id: str, purpose: str) -> str:
    """Return a DNS label that is the same for the same run and purpose."""
    return f"noria-{hashlib.sha256(f'{run_id} {purpose}'.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What shall run, on how many nodes of which kind.

    Args:
        run_id: The run that it belongs to.
        purpose: What it makes; a run may need several jobs.
        image: Of every node.
        command: Run on every node; the runtime tells it rank and master (``PET_*``).
        compute: The machine of one node, and how many of them.
        claim: PersistentVolumeClaim that all nodes mount; empty for none.
        mount: Where they mount it.
        service_account: Of the pods; empty for the runtime's.
    """

    run_id: str
    purpose: str
    image: str
    command: tuple[str, ...]
    compute: Compute
    claim: str = ""
    mount: str = ""
    service_account: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The object's name."""
        return job_name(self.run_id, self.purpose)

    def manifest(self) -> dict[str, Any]:
        """Return the object, ``trainer.kubeflow.org/v1alpha1``."""
        compute = self.compute
        amounts: dict[str, str] = {"cpu": compute.cpu, "memory": format_bytes(compute.memory)}
        if compute.gpu.count:
            amounts[GPU_RESOURCE] = str(compute.gpu.count)
        spec = {
            "runtimeRef": {
                "apiGroup": TRAIN_JOB.group,
                "kind": "ClusterTrainingRuntime",
                "name": RUNTIME,
            },
            "trainer": {
                "image": self.image,
                "command": list(self.command),
                "numNodes": compute.nodes,
                "numProcPerNode": compute.gpu.count or 1,
                "resourcesPerNode": {"requests": amounts, "limits": amounts},
                "env": [{"name": name, "value": value} for name, value in self.env.items()],
            },
            "podSpecOverrides": [self._override()],
        }
        return {
            "apiVersion": f"{TRAIN_JOB.group}/{TRAIN_JOB.version}",
            "kind": TRAIN_JOB.kind,
            "metadata": {
                "name": self.name,
                "labels": {"app.kubernetes.io/managed-by": "noria"},
                "annotations": {
                    "noria.dev/run": self.run_id,
                    _PLAN: hashlib.sha256(repr(spec).encode()).hexdigest()[:16],
                },
            }
            | _owner(),
            "spec": spec,
        }

    def _override(self) -> dict[str, Any]:
        found: dict[str, Any] = {"targetJobs": [{"name": _NODE}]}
        mounts: list[dict[str, str]] = []
        volumes: list[dict[str, Any]] = []
        if self.claim:
            volumes.append({"name": "shared", "persistentVolumeClaim": {"claimName": self.claim}})
            mounts.append({"name": "shared", "mountPath": self.mount})
        if self.compute.shared_memory:
            limit = format_bytes(self.compute.shared_memory)
            volumes.append(
                {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": limit}}
            )
            mounts.append({"name": "shared-memory", "mountPath": SHARED_MEMORY})
        if volumes:
            found["volumes"] = volumes
            found["containers"] = [{"name": _NODE, "volumeMounts": mounts}]
        if selector := node_selector(self.compute):
            found["nodeSelector"] = selector
        if accepted := tolerations(self.compute):
            found["tolerations"] = accepted
        if self.service_account:
            found["serviceAccountName"] = self.service_account
        return found


def run_trainjob(
    client: KubeClient,
    namespace: str,
    job: TrainJob,
    tell: Callable[[str], None],
    *,
    poll: float = 5.0,
) -> None:
    """Make the TrainJob or adopt it, tell what becomes of it, wait for its end, delete it.

    It is deleted however this ends, except when the process is killed: then the
    next attempt adopts it, and it goes with the pod that owns it at the latest.

    Args:
        client: Of the cluster, with the right to get, create and delete TrainJobs.
        namespace: Where it runs.
        job: What runs.
        tell: Hears every change.
        poll: Seconds between two looks.

    Raises:
        TrainingError: It failed, was deleted, took longer than ``compute.timeout``, or a job of
            another plan has its name.
        ClusterError, Denied, InvalidInput, Unavailable: The cluster refuses it, or is away.
    """
    try:
        begin(client, namespace, job, tell)
    except NoriaError:
        raise  # none was made, or one that is not ours is there
    except BaseException:  # stopped while it was asked for: it may be there all the same
        there = client.get(TRAIN_JOB, job.name, namespace)
        if there is not None and _plan_of(there) == _plan_of(job.manifest()):
            client.delete(TRAIN_JOB, job.name, namespace)
        raise
    try:
        _follow(client, namespace, job, tell, poll)
    finally:
        client.delete(TRAIN_JOB, job.name, namespace)


def begin(client: KubeClient, namespace: str, job: TrainJob, tell: Callable[[str], None]) -> None:
    """Make the TrainJob, or find the one that an earlier attempt made.

    Raises:
        TrainingError: A job of another plan has its name.
        ClusterError, Denied, InvalidInput, Unavailable: The cluster refuses it, or is away.
    """
    body = job.manifest()
    try:
        client.create(TRAIN_JOB, body, namespace)
        tell(f"TrainJob {namespace}/{job.name}: {job.compute.nodes} nodes asked for")
        return
    except Conflict:
        there = client.get(TRAIN_JOB, job.name, namespace)
    if there is None:
        begin(client, namespace, job, tell)
        return
    if _plan_of(there) != _plan_of(body):
        raise TrainingError(
            f"TrainJob {namespace}/{job.name} is there already and runs something else",
            fix="delete it, or give the run another id",
        )
    tell(f"TrainJob {namespace}/{job.name}: found, of an earlier attempt")


def _plan_of(manifest: Mapping[str, Any]) -> str | None:
    found: str | None = manifest["metadata"].get("annotations", {}).get(_PLAN)
    return found


def _follow(
    client: KubeClient, namespace: str, job: TrainJob, tell: Callable[[str], None], poll: float
) -> None:
    where = f"TrainJob {namespace}/{job.name}"
    limit = job.compute.timeout.total_seconds()
    ends = time.monotonic() + limit
    said = ""
    while time.monotonic() < ends:
        try:
            seen = client.get(TRAIN_JOB, job.name, namespace)
        except Unavailable as error:
            now, condition = str(error), None
        else:
            if seen is None:
                raise TrainingError(f"{where} was deleted before it ended")
            status = seen.get("status", {})
            now, condition = _words(status), _end(status)
        if now and now != said:
            tell(f"{where}: {now}")
            said = now
        if condition is not None:
            if condition["type"] == "Complete":
                return
            raise TrainingError(
                f"{where} failed: {condition.get('reason', '')}: {condition.get('message', '')}",
                fix="its pods' logs say more",
            )
        time.sleep(poll)
    raise TrainingError(
        f"{where} took longer than spec.train.compute.timeout, {limit:g} s; {said or 'no status'}",
        fix="raise the timeout; without any status, is Kubeflow Trainer running?",
    )


def _end(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for condition in status.get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return dict(condition)
    return None


def _words(status: Mapping[str, Any]) -> str:
    true = [c for c in status.get("conditions", []) if c["status"] == "True"]
    jobs = [
        f"{job['name']}: {job['active']} active, {job['ready']} ready, "
        f"{job['succeeded']} succeeded, {job['failed']} failed"
        for job in status.get("jobsStatus", [])
    ]
    return "; ".join([*(f"{c['type']} ({c['reason']})" for c in true), *jobs])


def _owner() -> dict[str, Any]:
    """Return the step's own pod as the owner, when KFP says which it is."""
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    if not name or not uid:
        return {}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
    return {"ownerReferences": [owner]}
