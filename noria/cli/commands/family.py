"""``noria family check``."""

from __future__ import annotations

from typing import Annotated

import typer

from noria.cli.output import say, say_json

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def family() -> None:
    """Check a task family against what Noria asks of one."""


@app.command()
def check(
    module: Annotated[
        str, typer.Argument(metavar="MODULE", help="module:attribute of the description, or NAME.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Run the conformance suite over a family; exit code 1 when a check fails.

    The family trains on the project that its own template makes, in a temporary folder:
    its code runs here, with your rights.
    """
    from noria.tasks.conformance import check_family

    results = []
    for result in check_family(module):
        results.append(result)
        if not as_json:
            say(f"{result.outcome:<7} {result.name}: {result.sentence}")
            if result.detail:
                say(f"        {result.detail}")
    failed = sum(result.outcome != "ok" for result in results)
    if as_json:
        say_json(results)
    elif failed:
        say(f"{failed} of {len(results)} checks failed or could not run")
    else:
        say(f"all {len(results)} checks passed")
    if failed:
        raise typer.Exit(1)
