"""``noria export``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument
from noria.cli.output import say
from noria.errors import InvalidInput

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def export(
    name: NameArgument,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write to. Default: NAME-export."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="First moment (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="Moment to stop before (UTC).")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write what a model's monitor keeps as Parquet files.

    exchanges.parquet has the answered rows with their labels, labels.parquet the labels in the
    order in which they came, windows.parquet what each window said. Works while the model is up
    and when it is down.
    """
    first, last = _utc(since), _utc(until)
    if first is not None and last is not None and first >= last:
        raise InvalidInput(f"--until {last:%Y-%m-%d}: not after --since {first:%Y-%m-%d}")
    folder = out or Path(f"{name}-export")
    for what, rows in embedded().export(home, name, folder, first, last).items():
        say(f"{folder / f'{what}.parquet'}: {rows:,} rows")


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
