"""Where the pods of ``spec.train.compute`` may run, in the cluster's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from noria.spec import Compute

GPU_RESOURCE: Final = "nvidia.com/gpu"
GPU_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
NODE_POOL_LABEL: Final = "noria.dev/node-pool"
"""Label and taint key of a node pool: nodes of pool P carry ``noria.dev/node-pool=P``."""

SHARED: Final = "/noria/shared"
"""Where a step and the nodes that train for it mount the volume that they share."""

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - shared memory, no temporary file


def node_selector(compute: Compute) -> dict[str, str]:
    """Return the labels that a node must have."""
    found = {}
    if compute.gpu.count and compute.gpu.product:
        found[GPU_PRODUCT_LABEL] = compute.gpu.product
    if compute.node_pool:
        found[NODE_POOL_LABEL] = compute.node_pool
    return found


def tolerations(compute: Compute) -> list[Mapping[str, str]]:
    """Return the taints that its pods accept, as Kubernetes spells them."""
    found: list[Mapping[str, str]] = []
    if compute.gpu.count:
        found.append({"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"})
    if compute.node_pool:
        found.append(
            {
                "key": NODE_POOL_LABEL,
                "operator": "Equal",
                "value": compute.node_pool,
                "effect": "NoSchedule",
            }
        )
    return found
