"""``spec.train.compute`` as settings of a KFP task."""

from __future__ import annotations

from typing import Any, Final

from kfp import kubernetes

from noria.spec import format_bytes
from pipelines.machine import Machine

GPU_RESOURCE: Final = "nvidia.com/gpu"
GPU_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
NODE_POOL_LABEL: Final = "noria.dev/node-pool"
"""Label and taint key of a node pool: nodes of pool P carry ``noria.dev/node-pool=P``."""


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
    if not whole:
        return
    if compute.gpu.count:
        task.set_accelerator_type(GPU_RESOURCE)
        task.set_accelerator_limit(compute.gpu.count)
        kubernetes.add_toleration(task, key=GPU_RESOURCE, operator="Exists", effect="NoSchedule")
        if compute.gpu.product:
            kubernetes.add_node_selector(task, GPU_PRODUCT_LABEL, compute.gpu.product)
    if compute.node_pool:
        kubernetes.add_node_selector(task, NODE_POOL_LABEL, compute.node_pool)
        kubernetes.add_toleration(
            task,
            key=NODE_POOL_LABEL,
            operator="Equal",
            value=compute.node_pool,
            effect="NoSchedule",
        )
    if compute.shared_memory:
        kubernetes.empty_dir_mount(
            task,
            volume_name="shared-memory",
            mount_path="/dev/shm",  # noqa: S108 - shared memory, no temporary file
            medium="Memory",
            size_limit=format_bytes(compute.shared_memory),
        )
