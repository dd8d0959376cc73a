"""``noria backtest``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from noria.cli.options import FileOption
from noria.cli.output import console, say

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def backtest(
    file: FileOption,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=_FORMATS,
            help="First event time (UTC) to walk through; what is before trains the first version. "
            "Default: after the first fifth of the rows.",
        ),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Labelled rows in place of the model's source."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report, one HTML file.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what each predictor said of each row, Parquet."),
    ] = None,
    suggest: Annotated[
        bool,
        typer.Option(
            "--suggest",
            help="Choose the policy's numbers on the first part, and show them on the rest.",
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Fits at a time. Default: one for each core.")
    ] = os.cpu_count() or 1,
    cache: Annotated[
        Path, typer.Option(metavar="DIR", help="Where fits are kept, to be used again.")
    ] = Path(".noria/backtest"),
) -> None:
    """Run a model's history through the loop.

    Every row is answered before its label is known; labels come as late as they came; fits are
    real. Beside the loop, rules that it must beat: a model that is never touched, one that is
    retrained every month, one whenever the labelled rows have grown by a fifth, and the last
    known label.
    """
    from noria.backtest.history import read_history
    from noria.backtest.pool import Pool
    from noria.backtest.progress import Progress
    from noria.backtest.reporting import report_of
    from noria.backtest.run import Backtest
    from noria.backtest.suggest import parts
    from noria.backtest.suggest import suggest as choose
    from noria.backtest.summary import print_summary
    from noria.files import write_json
    from noria.report import write_report
    from noria.spec import load_model
    from noria.tasks.families import require

    model = load_model(file)
    require(model.spec)
    shown, kept = console(), cache.absolute()
    first = None if start is None else start.replace(tzinfo=UTC)
    history = read_history(model.spec, file.resolve().parent, first, rows)
    with Pool(jobs) as pool:
        if suggest:
            seen, history = parts(history)
            with Progress(shown, seen.streamed) as progress:
                suggestion = choose(model, seen, pool, kept, progress)
            with Progress(shown, history.streamed) as progress:
                as_it_is = Backtest(model, history, pool, kept).run(progress)
            say(f"chosen on {seen.streamed:,} rows, shown on the {history.streamed:,} after them")
            say("as it is:")
            print_summary(shown, as_it_is.figures)
            if not suggestion.changed:
                say("nothing was clearly better than the settings as they are")
            say(f"as suggested:\n{suggestion.yaml()}")
            model = suggestion.model
        with Progress(shown, history.streamed) as progress:
            result = Backtest(model, history, pool, kept).run(progress)
    print_summary(shown, result.figures)
    if json_file is not None:
        write_json(json_file, result.figures.to_json())
        say(f"figures: {json_file}")
    if report is not None:
        page = report_of(result.figures, f"noria backtest -f {file}")
        say(f"report: {write_report(page, report)}")
    if predictions is not None:
        result.write_predictions(predictions)
        say(f"predictions: {predictions}")
