"""The pipeline of a batch: the parts of some files, divided among pods.

Each pod runs ``noria predict-batch`` with its ``--shard`` on a volume that all of them share. A pod
that dies is started again and goes on with the part that it was at.
"""

# No `from __future__ import annotations` here: KFP reads the annotations as types.
from typing import Any, Final

from kfp import dsl

from pipelines.machine import Machine

NAME: Final = "noria-batch"
FOLDER: Final = "/batch"
"""Where the pods find the volume."""

RETRIES: Final = 3
"""Of a pod, where the model's machine says none: with one little is done again."""


def batch_pipeline(machine: Machine, *, image: str, model: str, shards: int, claim: str) -> Any:
    """Return the pipeline of a model.

    Args:
        machine: Its CPU, memory and time are those of each pod.
        image: Noria's components image, or one that is built on it.
        model: Name of the registered model.
        shards: How many pods there are.
        claim: The PersistentVolumeClaim with the rows, mounted at ``FOLDER``; ReadWriteMany where
            the pods are on several nodes.
    """

    @dsl.container_component  # type: ignore[untyped-decorator]
    def answer(version: str, source: str, out: str, refused: str, tracking_uri: str, shard: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - KFP takes any annotation for an output
        return dsl.ContainerSpec(
            image=image,
            command=["noria", "predict-batch", model],
            args=[
                "--version", version, "--in", source, "--out", out, "--refused", refused,
                "--registry", tracking_uri, "--shard", shard,
            ],
        )  # fmt: skip

    @dsl.pipeline(  # type: ignore[untyped-decorator]
        name=NAME, description=f"Answer all rows of files by a version of {model}."
    )
    def batch(
        version: str,
        tracking_uri: str,
        source: str = f"{FOLDER}/rows",
        out: str = f"{FOLDER}/answers",
        refused: str = "0",
    ) -> None:
        from kfp import kubernetes

        from pipelines.compute import apply_machine

        places = [f"{number}/{shards}" for number in range(1, shards + 1)]
        with dsl.ParallelFor(places) as shard:
            task = answer(
                version=version, source=source, out=out, refused=refused,
                tracking_uri=tracking_uri, shard=shard,
            )  # fmt: skip
            # What the folder holds is not among what a cache knows a step by.
            apply_machine(task, machine, whole=False, cache=False, key="")
            if not machine.compute.retries:
                task.set_retry(num_retries=RETRIES, backoff_duration="30s", backoff_factor=2.0)
            kubernetes.mount_pvc(task, pvc_name=claim, mount_path=FOLDER)

    return batch
