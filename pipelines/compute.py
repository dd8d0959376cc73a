"""``spec.train.compute`` as settings of a KFP task."""

from __future__ import annotations

from typing import Any, Final

from kfp import kubernetes

from components.placement import (
    GPU_RESOURCE,
    SHARED,
    SHARED_MEMORY,
    node_selector,
    tolerations,
)
from noria.spec import format_bytes
from pipelines.machine import Machine

_CREDENTIALS: Final = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_S3_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
)
"""Keys of the installation's Secret, each optional; KFP has to be told them by name."""


def apply_machine(task: Any, machine: Machine, *, whole: bool, cache: bool, key: str) -> None:
    """Ask for a machine. ``whole``: also for its GPUs, node pool and shared memory.

    ``key``, when there is one, is all that the cache knows the task by.
    """
    compute = machine.compute
    task.set_cpu_request(compute.cpu)
    task.set_cpu_limit(compute.cpu)
    task.set_memory_request(format_bytes(compute.memory))
    task.set_memory_limit(format_bytes(compute.memory))
    task.set_caching_options(enable_caching=cache, cache_key=key if cache and key else None)
    if compute.retries:
        task.set_retry(num_retries=compute.retries, backoff_duration="30s", backoff_factor=2.0)
    kubernetes.set_timeout(task, seconds=max(1, round(compute.timeout.total_seconds())))
    # The rest of a restricted pod (no escalation, no capabilities, seccomp) KFP sets by itself.
    kubernetes.set_security_context(task, run_as_non_root=True)
    if machine.mlflow_secret:
        kubernetes.use_secret_as_env(
            task, machine.mlflow_secret, {name: name for name in _CREDENTIALS}, optional=True
        )
    if machine.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(machine.pull_secrets))
    if machine.pull_policy:
        kubernetes.set_image_pull_policy(task, machine.pull_policy)
    if not whole:
        return
    if compute.gpu.count:
        task.set_accelerator_type(GPU_RESOURCE)
        task.set_accelerator_limit(compute.gpu.count)
    for label, value in node_selector(compute).items():
        kubernetes.add_node_selector(task, label, value)
    for taint in tolerations(compute):
        kubernetes.add_toleration(task, **taint)
    if compute.shared_memory:
        kubernetes.empty_dir_mount(
            task,
            volume_name="shared-memory",
            mount_path=SHARED_MEMORY,
            medium="Memory",
            size_limit=format_bytes(compute.shared_memory),
        )


def hand_to_nodes(task: Any, machine: Machine) -> None:
    """Give a step that trains on several nodes the volume it shares with them, and their time."""
    # It fits twice, for the gates and to be served, and each fit may take the timeout.
    seconds = 2 * round(machine.compute.timeout.total_seconds())
    kubernetes.set_timeout(task, seconds=max(1, seconds))
    if machine.shared_claim:
        kubernetes.mount_pvc(task, pvc_name=machine.shared_claim, mount_path=SHARED)
