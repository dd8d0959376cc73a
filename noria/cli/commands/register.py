"""``noria register``."""

from __future__ import annotations

from typing import Annotated

import typer

from noria.cli.commands.rollout import ByOption, ReasonOption, submit
from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument
from noria.cli.output import say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def register(
    name: NameArgument,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="FOLDER|URI",
            help="The trained model: a folder, or a URI that MLflow knows, such as models:/m/3.",
        ),
    ],
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Let a model that was trained elsewhere become a version.

    It is copied to the folder that the project names for it, and a run of the pipeline is asked
    for: its gates are measured on held-out rows, and the loop rolls it out when they pass.
    """
    target = embedded().receive(home, name, model)
    say(f"{name}: {model} is in {target}")
    submit(name, "train", reason or f"register {model}", by, home, None)
