"""``noria demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noria.cli.options import DEFAULT_HOME
from noria.cli.output import console

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def demo(
    full: Annotated[
        bool,
        typer.Option("--full/--quick", help="Every flight, or a seeded sample (11 minutes or so)."),
    ] = False,
    until: Annotated[
        int, typer.Option(min=3, max=12, help="The last month of 2013 to replay.")
    ] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the sample and seeds training.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON too.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write the report. Default: in the home."),
    ] = None,
    home: Annotated[
        Path,
        typer.Option(envvar="NORIA_HOME", help="Folder for the demo's state; it gets its own."),
    ] = DEFAULT_HOME,
) -> None:
    """Run a year of real flights through the whole loop.

    Trains on January 2013, then replays the months after it in time order: the loop detects,
    retrains, gates, canaries, promotes or refuses, by itself. Ends with a table and one HTML
    report, beside a model that is never touched and one that is retrained every month.
    """
    from noria.demo.run import Request, run

    state = home / "demo"  # The demo starts from nothing: it must not touch other models' state.
    run(
        Request(
            mode="full" if full else "quick",
            seed=seed,
            home=state,
            report=report or state / "report.html",
            json=json_file,
            last_month=until,
        ),
        console(),
    )
