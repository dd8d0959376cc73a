"""A model with a server of its own, on one machine: there is no container engine here.

Every package that Noria can write, its own server can load. So that one serves here, and says
so; a protocol that it does not speak is refused.
"""

from __future__ import annotations

from noria.errors import InvalidInput
from noria.spec import Model, ModelSpec

_PATH = "spec.serving.runtime"


def caution(spec: ModelSpec) -> str:
    """Return what whoever reads a model's status here should know; empty without such a server."""
    runtime = spec.serving.runtime
    if runtime is None:
        return ""
    return f"{_PATH}: {runtime.called} has no effect on one machine: Noria's server serves"


def served_here(model: Model) -> Model:
    """Return the model as this machine serves it.

    Raises:
        InvalidInput: Noria's server does not speak the protocol of its server.
    """
    runtime = model.spec.serving.runtime
    if runtime is None:
        return model
    if runtime.speaks_openai:
        raise InvalidInput(
            f"{model.name}: {_PATH}.protocol: {runtime.protocol} needs {runtime.called}, and one "
            "machine has only Noria's server, which speaks v2 and v1",
            fix="serve it on a cluster: kubectl apply",
        )
    serving = model.spec.serving.model_copy(update={"runtime": None})
    return model.model_copy(update={"spec": model.spec.model_copy(update={"serving": serving})})
