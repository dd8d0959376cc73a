"""``noria compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.options import FileOption
from noria.cli.output import hint, say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(name="compile")
def compile_(
    file: FileOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the pipeline.")
    ] = Path("pipeline.yaml"),
) -> None:
    """Compile the training pipeline for Kubeflow Pipelines.

    Writes the KFP v2 intermediate representation, which any KFP backend runs.
    """
    from noria.spec import load_model

    # First: a bad file is told before anything heavy is imported.
    model = load_model(file)
    from pipelines.generate import compile_pipeline

    compile_pipeline(model, output)
    say(f"{output}: the training pipeline of {model.name}")
    say("upload it to Kubeflow Pipelines, or run it here")
    hint("noria", "train", "-f", file)
