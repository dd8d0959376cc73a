"""``noria compile-batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.options import FileOption
from noria.cli.output import say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(name="compile-batch")
def compile_batch(
    file: FileOption,
    claim: Annotated[
        str,
        typer.Option(metavar="NAME", help="PersistentVolumeClaim with the rows, for the answers."),
    ],
    shards: Annotated[
        int, typer.Option(min=1, max=1000, help="Pods that the parts are divided among.")
    ] = 4,
    image: Annotated[
        str,
        typer.Option(
            envvar="NORIA_COMPONENTS_IMAGE",
            help="Image of the pods, where spec.train.compute.image names none.",
        ),
    ] = "",
    mlflow_secret: Annotated[
        str,
        typer.Option(
            envvar="NORIA_MLFLOW_SECRET", help="Secret with the pods' credentials of MLflow."
        ),
    ] = "",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the pipeline.")
    ] = Path("batch.yaml"),
) -> None:
    """Compile the pipeline that answers files on Kubeflow Pipelines.

    Its parameters are the version, MLflow's URL as the pods reach it, the folders of the rows and
    the answers on the volume, and how many rows may be refused.
    """
    from noria.spec import load_model

    # First: a bad file is told before anything heavy is imported.
    model = load_model(file)
    from components import BASE_IMAGE
    from pipelines.generate import compile_batch as write

    write(
        model, output, shards=shards, claim=claim, image=image or BASE_IMAGE,
        mlflow_secret=mlflow_secret,
    )  # fmt: skip
    say(f"{output}: a batch of {model.name} in {shards:,} pods")
    say("upload it to Kubeflow Pipelines, and start it with a version and tracking_uri")
