"""``noria validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from noria.cli.options import FileOption
from noria.cli.output import hint, say

if TYPE_CHECKING:
    from noria.spec import Model, ModelSpec

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def validate(file: FileOption) -> None:
    """Check a model.yaml and list every problem in it.

    Each problem names the field, the value and the fix. Nothing is run and no data is read.
    """
    from noria.errors import NotInstalled
    from noria.loop.sizing import canary_needs
    from noria.spec import format_duration, load_model
    from noria.tasks.families import require

    model = load_model(file)
    spec = model.spec
    cautions = spec.family.cautions_of(spec.task.options)
    notes = [*cautions, *_without_effect(spec), *_own_server(model)]
    runs = True
    try:
        require(spec)
    except NotInstalled as error:
        runs = False
        notes.insert(0, str(error))
    detectors = len(spec.monitoring.detectors)
    steps = " -> ".join(f"{step} %" for step in (*spec.serving.canary.steps, 100))
    budget = spec.retraining.budget
    say(f"{file}: valid")
    say(f"  model       {model.name} ({spec.task.family}, {spec.train.algorithm})")
    say(f"  data        {spec.data.source.kind}, {len(spec.data.features)} features")
    say(f"  rollout     {steps}")
    for need in canary_needs(spec.serving.canary, spec.family):
        say(f"              {need}")
    say(f"  watched by  {detectors} detector{'' if detectors == 1 else 's'}")
    say(f"  retrains    at most {budget.runs} per {format_duration(budget.per)}{_floor(spec)}")
    for note in notes:
        say(f"note: {note}")
    if runs:
        hint("noria", "train", "-f", file)
        hint("noria", "up", "-f", file)


def _floor(spec: ModelSpec) -> str:
    policy = spec.retraining
    if "new-data" not in policy.signals:
        return ""
    return f"; a try whenever the labelled rows have grown by {policy.new_data.growth:.0%}"


def _without_effect(spec: ModelSpec) -> list[str]:
    """Say which settings are valid and change nothing on one machine."""
    found = {
        "spec.serving.shadow.percent": (spec.serving.shadow.percent, 0),
        "spec.serving.replicas": (spec.serving.replicas, 1),
    }
    return [
        f"{path}: {value} has no effect on one machine"
        for path, (value, most) in found.items()
        if value > most
    ]


def _own_server(model: Model) -> list[str]:
    """Say what a server that is not Noria's does not do, and what becomes of it on one machine."""
    serving = model.spec.serving
    runtime = serving.runtime
    if runtime is None:
        return []
    from monitoring.rules.of_serving import left_out
    from noria.embedded.own_server import caution, served_here
    from noria.errors import InvalidInput
    from noria.spec import Batching, Serving

    try:
        served_here(model)
        found = [caution(model.spec)]
    except InvalidInput as error:
        found = [str(error)]
    said = {
        "protocols: grpc": "grpc" in serving.protocols and "protocols" in serving.model_fields_set,
        "batching": serving.batching != Batching(),
        "maxRequestBytes": serving.max_request_bytes != Serving().max_request_bytes,
    }
    found += [
        f"spec.serving.{key} has no effect on a server of your own, over HTTP"
        for key, given in said.items()
        if given
    ]
    found += [
        f"no alert {name}: spec.serving.runtime.metrics does not name what it needs"
        for name in left_out(model)
    ]
    if not serving.payload_log.sample:
        found.append("the monitor sees nothing of the traffic: no drift, no performance")
    return found
