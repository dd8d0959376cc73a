"""What the pods of a run get besides their image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from noria.spec import Compute


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that tasks ask for, and what they need to know of the installation.

    Args:
        compute: ``spec.train.compute``.
        cache_keys: What KFP knows a step's result by (see ``caching``). Steps without a key
            are known by KFP's own, and never when they touch the world outside of the run.
        mlflow_secret: Secret whose keys become environment variables of the steps.
        pull_secrets: Secrets to pull the image with.
        shared_claim: PersistentVolumeClaim that the nodes of a run share.
        pull_policy: When a node pulls the image again; empty: as Kubernetes does.
    """

    compute: Compute
    cache_keys: Mapping[str, str] = field(default_factory=dict)
    mlflow_secret: str = ""
    pull_secrets: tuple[str, ...] = ()
    shared_claim: str = ""
    pull_policy: str = ""
