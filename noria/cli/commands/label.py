"""``noria label``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument
from noria.cli.output import say

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def label(
    name: NameArgument,
    since: Annotated[
        datetime | None,
        typer.Option(formats=_FORMATS, help="First event time (UTC). Default: all rows."),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV or Parquet with the source's columns, instead of its rows."
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Send the labels that a model's source has by now to its monitor.

    They find their predictions by entity key (of a forecast, by series and time). Labels that the
    monitor knows change nothing, so that the command can be run again whenever the source has
    grown.
    """
    first = None if since is None else since.replace(tzinfo=UTC)
    new, known = embedded().label(home, name, first, rows)
    say(f"{name}: {new:,} new labels, {known:,} were known")
