"""KFP pipelines composed from ``components``, their compiled form, and the two runners.

Importing this package does not import KFP; its modules do. In a notebook:

    import pipelines
    run = pipelines.submit("parcels/model.yaml", host="https://kubeflow.example/pipeline")
    run.wait()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.submission import Submission, submit

__all__ = ["Submission", "submit"]


def __getattr__(name: str) -> Any:
    """Import what is offered here when it is first asked for."""
    if name in __all__:
        from pipelines import submission

        return getattr(submission, name)
    raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
