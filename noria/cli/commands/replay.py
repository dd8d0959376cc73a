"""``noria replay``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, FileOption, HomeOption
from noria.cli.output import console, hint, say
from noria.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def replay(
    file: FileOption,
    start: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="First event time (UTC).")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="Event time to stop before (UTC).")
    ] = None,
    speed: Annotated[
        float,
        typer.Option(min=0, help="Simulated seconds per second; 0: as fast as it goes."),
    ] = 0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Send a model's rows to it as requests, in time order.

    Each label follows when it became known. The model must be up.
    """
    from noria.spec import load_model

    first, last = _utc(start), _utc(end)
    if first is not None and last is not None and first >= last:
        raise InvalidInput(f"--end {last:%Y-%m-%d}: not after --start {first:%Y-%m-%d}")
    name = load_model(file).name
    shown = console()
    if shown.is_terminal:
        _with_bar(shown, lambda on: embedded().replay(home, file.resolve(), first, last, speed, on))
    else:
        embedded().replay(home, file.resolve(), first, last, speed, _Lines())
    say(f"replayed {name}")
    hint("noria status", f"noria why {name}")


class _Lines:
    """One line for each simulated month, for logs."""

    def __init__(self) -> None:
        self._month = ""

    def __call__(self, at: datetime, rows: int, total: int) -> None:
        month = f"{at:%Y-%m}"
        if month != self._month:
            self._month = month
            say(f"{at:%Y-%m-%d}  {rows:,} of {total:,} rows")


def _with_bar(shown: Console, run: Callable[[Callable[[datetime, int, int], None]], None]) -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=shown) as bar:
        task = bar.add_task("starting", total=1)

        def on_progress(at: datetime, rows: int, total: int) -> None:
            bar.update(task, description=f"{at:%Y-%m-%d}", completed=rows, total=total)

        run(on_progress)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
