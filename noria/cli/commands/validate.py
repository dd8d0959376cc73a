"""``noria validate``."""

from __future__ import annotations

import typer

from noria.cli.options import FileOption
from noria.cli.output import hint, say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def validate(file: FileOption) -> None:
    """Check a model.yaml and list every problem in it.

    Each problem names the field, the value and the fix. Nothing is run and no data is read.
    """
    from noria.spec import format_duration, load_model

    model = load_model(file)
    spec = model.spec
    detectors = len(spec.monitoring.detectors)
    steps = " -> ".join(f"{step} %" for step in (*spec.serving.canary.steps, 100))
    budget = spec.retraining.budget
    say(f"{file}: valid")
    say(f"  model       {model.name} ({spec.task.family}, {spec.train.algorithm})")
    say(f"  data        {spec.data.source.kind}, {len(spec.data.features)} features")
    say(f"  rollout     {steps}")
    say(f"  watched by  {detectors} detector{'' if detectors == 1 else 's'}")
    say(f"  retrains    at most {budget.runs} per {format_duration(budget.per)}")
    hint(f"noria train -f {file}", f"noria up -f {file}")
