"""``noria replay``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, FileOption, HomeOption, at_home
from noria.cli.output import console, hint, say, table
from noria.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

    from noria.embedded.answers import Summary
    from noria.embedded.chronicle import Chronicle
    from noria.embedded.replaying import Progress, Replayed

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_Show: TypeAlias = "Callable[[Progress], None]"
_Tell: TypeAlias = Callable[[str], None]


class Clock(StrEnum):
    """Whose time the loop goes by."""

    WALL = "wall"
    EVENT = "event"


class Seen(StrEnum):
    """What becomes of rows that the model was fitted on."""

    REFUSE = "refuse"
    MARK = "mark"


@app.command()
def replay(
    file: FileOption,
    clock: Annotated[
        Clock,
        typer.Option(
            help="wall: the model is up and goes by today. event: the loop runs here, by the "
            "time of the rows; it trains first where there is no version.",
        ),
    ] = Clock.WALL,
    start: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="First event time (UTC).")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="Event time to stop before (UTC).")
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV or Parquet with the source's columns, instead of its rows."
        ),
    ] = None,
    seen: Annotated[
        Seen,
        typer.Option(
            help="Rows that the model was fitted on. mark: they are answered, marked, and left "
            "out of the metrics.",
        ),
    ] = Seen.REFUSE,
    speed: Annotated[
        float,
        typer.Option(min=0, help="Simulated seconds per second; 0: as fast as it goes."),
    ] = 0,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every answer, with its label, as Parquet."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what happened as one HTML file (--clock event)."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Send a model's rows to it as requests, in time order.

    Each label follows when it became known. By the wall's clock the model must be up. By the
    clock of the events it must not be: the replay runs the whole loop on the rows, as it would
    have run then, and tells what it did.
    """
    from noria.replay import Replaying
    from noria.spec import load_model

    first, last = _utc(start), _utc(end)
    if first is not None and last is not None and first >= last:
        raise InvalidInput(f"--end {last:%Y-%m-%d}: not after --start {first:%Y-%m-%d}")
    if report is not None and clock is Clock.WALL:
        raise InvalidInput(
            "--report: by the wall's clock the loop runs elsewhere", fix="add --clock event"
        )
    name = load_model(file).name
    wanted = Replaying(first, last, rows, speed, seen.value)
    with _progress(console()) as (show, tell):
        if clock is Clock.EVENT:
            done = embedded().replay_events(home, file.resolve(), wanted, show, tell)
        else:
            done = embedded().replay(home, file.resolve(), wanted, show)
    if predictions is not None:
        done.answers.write(predictions)
    _tell(name, done)
    if predictions is not None:
        say(f"predictions: {predictions}")
    if report is not None:
        command = ("noria", "replay", "-f", file, "--clock", clock.value)
        say(f"report: {done.write_report(report, command)}")
    hint("noria", "status", *at_home(home))
    hint("noria", "why", name, *at_home(home))


def _tell(name: str, done: Replayed) -> None:
    found = done.summary
    say(f"replayed {name}: {found.rows:,} rows, {_versions(found)}")
    _tell_metrics(found)
    if done.chronicle is not None:
        _tell_retrains(done.chronicle)


def _tell_metrics(found: Summary) -> None:
    if found.seen:
        say(
            f"{found.seen:,} of them are rows that the version that answered was fitted on: "
            "marked, and in no metric"
        )
    if found.unknown:
        say(
            f"{found.unknown:,} lack a label, or have one that is no class of the version that "
            "answered"
        )
    told = ", ".join(
        f"{metric} {value:.4g}" for metric, value in found.metrics.items() if value is not None
    )
    say(f"on {found.measured:,} rows that are new to it: {told or 'nothing can be measured'}")


def _tell_retrains(chronicle: Chronicle) -> None:
    log = chronicle.retrain_log()
    say(f"retrains: {len(log)}" if log else "retrains: none")
    if not log:
        return
    rows = [
        (
            f"{one.at:%Y-%m-%d}",
            "–" if one.version is None else f"v{one.version}",
            one.outcome,
            "–" if one.decided is None else f"{one.decided:%Y-%m-%d}",
            one.reason,
        )
        for one in log
    ]
    table(("started", "version", "outcome", "decided", "why"), rows)


def _versions(found: Summary) -> str:
    return ", ".join(f"{rows:,} by v{version}" for version, rows in found.versions.items())


@contextmanager
def _progress(shown: Console) -> Iterator[tuple[_Show, _Tell]]:
    """Yield what hears the progress and what hears the news: a bar, or lines for logs."""
    if not shown.is_terminal:
        lines = _Lines()
        yield lines, lines.tell
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows"),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=shown) as bar:
        task = bar.add_task("starting", total=1)

        def show(at: Progress) -> None:
            text = f"{at.at:%Y-%m-%d}  {at.doing}"
            bar.update(task, description=text, completed=at.rows, total=at.total)

        yield show, lambda text: bar.console.print(text, markup=False, highlight=False)


class _Lines:
    """One line for each tenth of the rows and each thing that happens, for logs."""

    def __init__(self) -> None:
        self._tenth = -1
        self._day = " " * 10

    def __call__(self, at: Progress) -> None:
        self._day = f"{at.at:%Y-%m-%d}"
        tenth = 10 * at.rows // max(at.total, 1)
        if tenth != self._tenth:
            self._tenth = tenth
            say(f"{self._day}  {at.rows:,} of {at.total:,} rows  {at.doing}")

    def tell(self, text: str) -> None:
        """Tell one thing that happened."""
        say(f"{self._day}    {text}")


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
