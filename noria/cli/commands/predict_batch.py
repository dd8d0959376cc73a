"""``noria predict-batch``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument
from noria.cli.output import say
from noria.errors import InvalidInput, shorten

if TYPE_CHECKING:
    from serving.batch.job import Progress
    from serving.batch.parts import Shard

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_EVERY: Final = 5.0
"""Seconds between two lines of progress."""


@app.command(name="predict-batch")
def predict_batch(
    name: NameArgument,
    source: Annotated[
        Path,
        typer.Option("--in", metavar="PATH", help="A file or folder: Parquet, or JSON lines."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the answers, as Parquet.")],
    version: Annotated[
        str | None, typer.Option(metavar="N", help="The version. Default: the champion.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A column that is written beside the answers; once for each. Default: the entity "
            "key and the event time, where the files have them.",
        ),
    ] = None,
    refused: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Rows that may be refused: they are set aside with the reason. The next one stops "
            "the batch.",
        ),
    ] = 0,
    threads: Annotated[
        int, typer.Option(min=0, max=512, help="Threads that predict. 0: one for each core.")
    ] = 0,
    shard: Annotated[
        str,
        typer.Option(metavar="I/N", help="Only each N-th part, from the I-th on: for N processes."),
    ] = "1/1",
    log: Annotated[
        bool, typer.Option("--log", help="Tell the model's monitor of the answers.")
    ] = False,
    registry: Annotated[
        str,
        typer.Option(metavar="URL", help="MLflow's, for a model that no `noria up` of here knows."),
    ] = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Answer all rows of files with a registered version.

    Parts of a million rows, or files of JSON lines, are answered one after the other, each into a
    file of its own that appears when it is whole. After a crash the same command goes on with the
    part that it was at. No server is needed.
    """
    from serving.batch.job import Wanted

    wanted = Wanted(
        source, out, None if not keep else tuple(keep), refused, threads or _cores(), _shard(shard)
    )
    if registry and log:
        raise InvalidInput("--registry and --log: the monitor is that of a model of here",
                           fix="leave one out")  # fmt: skip
    show = _progress(time.monotonic())
    if registry:
        done = embedded().predict_registered(registry, name, version, wanted, show)
    else:
        done = embedded().predict_batch(home, name, version, wanted, show, told=log)
    say(
        f"{out}: {done.rows:,} rows answered in {_parts(done.parts)}, {done.refused:,} refused"
        + (f"; {_parts(done.earlier)} answered before" if done.earlier else "")
    )


def _parts(count: int) -> str:
    return f"{count:,} part" if count == 1 else f"{count:,} parts"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _shard(said: str) -> Shard:
    from serving.batch.parts import Shard

    number, slash, of = said.partition("/")
    if not (slash and number.isascii() and of.isascii() and number.isdigit() and of.isdigit()):
        raise InvalidInput(f"--shard {shorten(said)} is not I/N", fix="give 1/4, for example")
    return Shard(int(number), int(of))


def _progress(began: float) -> Callable[[Progress], None]:
    """Return what prints where a batch is, every few seconds, to stderr."""
    last = began
    start: int | None = None

    def show(where: Progress) -> None:
        nonlocal last, start
        now = time.monotonic()
        if start is None:
            start = where.rows
        if now - last < _EVERY:
            return
        last = now
        speed = (where.rows - start) / (now - began)
        of = "" if where.of_rows is None else f" of {where.of_rows:,}"
        left = ""
        if where.of_rows is not None and speed > 0:
            left = f", {(where.of_rows - where.rows - where.refused) / speed:,.0f} s left"
        line = f"{where.rows:,}{of} rows, {speed:,.0f} a second{left}"
        typer.echo(f"part {where.parts + 1:,} of {where.of_parts:,}: {line}", err=True)

    return show
