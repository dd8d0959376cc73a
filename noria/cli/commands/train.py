"""``noria train``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, FileOption, HomeOption, at_home
from noria.cli.output import hint, say, table
from noria.errors import PipelineError

if TYPE_CHECKING:
    from noria.loop.values import RunResult
    from noria.spec import Model

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def train(file: FileOption, home: HomeOption = DEFAULT_HOME) -> None:
    """Run the training pipeline once, on this machine.

    Ingests, validates, splits, tunes, trains, evaluates against the champion and registers a
    version. Nothing is served by it. `noria up` serves a version made by hand only while there is
    no champion yet; once there is one, `noria rollout retrain NAME` makes a version that can
    take its place.
    """
    from noria.loop.values import RunPhase
    from noria.spec import load_model
    from noria.tasks.families import require
    from noria.tasks.sources.size import free_memory, room_for

    model = load_model(file)
    require(model.spec)
    name = model.name
    say(f"training {name}; state in {home}")
    room = room_for(model.spec, file.resolve().parent, free_memory())
    if room is not None and room.text:
        say(f"  {room.text}")
    status = embedded().train(home, file.resolve(), lambda line: say(f"  {line}"))
    if status.phase is not RunPhase.SUCCEEDED or status.result is None:
        raise PipelineError(
            f"run {status.run_id} {status.phase.value}: {status.detail or 'no reason given'}"
        )
    report(model, status.result)
    if status.result.champion is None:
        hint("noria", "up", "-f", file, *at_home(home))
        return
    say(f"there is a champion: `noria up` does not serve version {status.result.version}")
    note = "trains a version that can take its place"
    hint("noria", "rollout", "retrain", name, *at_home(home), note=note)


def report(model: Model, result: RunResult) -> None:
    """Say which version a run registered, how good it is, and what its gates say."""
    from noria.loop.gates import objections

    say(f"registered {model.name} version {result.version}, {result.rows:,} rows")
    metrics = [
        (metric, "–" if value is None else f"{value:.4f}")
        for metric, value in result.metrics.items()
    ]
    if metrics:
        table(("metric", "held-out rows"), metrics)
    if result.gates:
        say()
        table(
            ("gate", "verdict", "why"),
            [(gate.name, gate.verdict.value, gate.detail) for gate in result.gates],
        )
    refused = objections(model.spec, result.gates, result.champion, result.champion)
    if refused:
        say(f"the loop will not give this version traffic: {'; '.join(refused)}")
