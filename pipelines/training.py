"""The training pipeline, from rows to a registered version.

    ingest -> validate -> features -> split -> tune -> train -> evaluate -> reference -> register

It has no conditions: a candidate that fails its gates is registered too, with
its verdicts, because the loop decides and the evidence must stay.
"""

# No `from __future__ import annotations` here: KFP reads the annotations as types.
from typing import Any, Final

from kfp import dsl

from components import BASE_IMAGE
from components.evaluate.component import evaluate as evaluate_rows
from components.features.component import features as add_features
from components.ingest.component import ingest as ingest_rows
from components.reference.component import reference as build_reference
from components.register.component import register as register_version
from components.split.component import split as split_rows
from components.train.component import train as train_model
from components.tune.component import tune as tune_model
from components.validate.component import validate as validate_rows
from pipelines.kubeflow_workflow import STEPS
from pipelines.machine import Machine

NAME: Final = "noria-training"
_HEAVY: Final = frozenset({"tune", "train"})
_OUTSIDE: Final = frozenset({"ingest", "register"})


def training_pipeline(
    machine: Machine | None = None, *, image: str = BASE_IMAGE, model: str = ""
) -> Any:
    """Return the pipeline; ``model`` is the default of its parameter, the resource as JSON.

    With ``machine``, the tasks ask for it: tuning and training for all of it,
    the other steps for its CPU and memory. Without, they ask for nothing, as
    the local runner could not give it.
    """
    nodes = 1 if machine is None else machine.compute.nodes

    @dsl.pipeline(  # type: ignore[untyped-decorator]
        name=NAME, description="Train, evaluate and register a Noria model."
    )
    def train(
        model: str = model,
        base: str = "/model",
        run_id: str = "",
        as_of: str = "",
        reason: str = "",
        champion: str = "",
        tracking_uri: str = "",
        artifacts: str = "",
        served: str = "",
    ) -> str:
        rows = ingest_rows(model=model, base=base, as_of=as_of, served=served)
        checked = validate_rows(model=model, rows=rows.outputs["rows"])
        joined = add_features(model=model, base=base, rows=rows.outputs["rows"])
        joined.after(checked)
        frame = joined.outputs["frame"]
        parts = split_rows(
            model=model,
            champion=champion,
            tracking_uri=tracking_uri,
            artifacts=artifacts,
            frame=frame,
        )
        fit, held_out = parts.outputs["train"], parts.outputs["test"]
        params = tune_model(model=model, train=fit)
        trained = train_model(
            model=model,
            # Empty for one node: a step that doesn't need to know its run is found in the cache.
            run_id=run_id if nodes > 1 else "",
            image=image if nodes > 1 else "",
            claim=machine.shared_claim if machine is not None and nodes > 1 else "",
            champion=champion,
            tracking_uri=tracking_uri,
            artifacts=artifacts,
            frame=frame,
            test=held_out,
            params=params.outputs["params"],
        )
        measured = evaluate_rows(
            model=model,
            champion=champion,
            tracking_uri=tracking_uri,
            artifacts=artifacts,
            candidate=trained.outputs["candidate"],
            test=held_out,
            held_out=trained.outputs["held_out"],
        )
        referred = build_reference(
            model=model,
            package=trained.outputs["package"],
            frame=frame,
            test=held_out,
            held_out=trained.outputs["held_out"],
        )
        referred.after(measured)
        version = register_version(
            model=model,
            base=base,
            run_id=run_id,
            as_of=as_of,
            reason=reason,
            champion=champion,
            fingerprint=rows.outputs["Output"],
            tracking_uri=tracking_uri,
            artifacts=artifacts,
            package=trained.outputs["package"],
            reference=referred.outputs["reference"],
            evaluation=measured.outputs["evaluation"],
            plots=measured.outputs["plots"],
            params=params.outputs["params"],
            test=held_out,
        )
        tasks = (rows, checked, joined, parts, params, trained, measured, referred, version)
        for name, task in zip(STEPS, tasks, strict=True):
            task.set_display_name(name)
            task.set_container_image(image)
            if machine is not None:
                # Only compiling needs it, and it brings the Kubernetes client with it.
                from pipelines.compute import apply_machine, hand_to_nodes

                # A step that touches the world outside of the run is answered from a cache only
                # when its key says what it would find there.
                apply_machine(
                    task,
                    machine,
                    # Several nodes are TrainJobs of their own; the step only waits for them.
                    whole=name in _HEAVY and not (name == "train" and nodes > 1),
                    cache=machine.compute.cache
                    and (name not in _OUTSIDE or name in machine.cache_keys),
                    key=machine.cache_keys.get(name, ""),
                )
                if name == "train" and nodes > 1:
                    hand_to_nodes(task, machine)
        return version.output  # type: ignore[no-any-return]

    return train
