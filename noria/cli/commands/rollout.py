"""``noria rollout``: what a person may tell the loop."""

from __future__ import annotations

import getpass
from typing import Annotated, TypeAlias

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument
from noria.cli.output import hint, say

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

ReasonOption: TypeAlias = Annotated[
    str, typer.Option("--reason", "-m", help="Why; it is kept in the ledger.")
]
ByOption: TypeAlias = Annotated[
    str, typer.Option("--by", help="Who asks. Default: the name of this account.")
]


@app.callback()
def rollout() -> None:
    """Promote, abort, pause or resume by hand."""


@app.command()
def promote(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Give the candidate all of the traffic now, without the remaining steps."""
    _submit(home, name, "promote", reason, by)


@app.command()
def abort(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Put all of the traffic back on the champion, or cancel the training run."""
    _submit(home, name, "abort", reason, by)


@app.command()
def pause(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Hold the candidate at its share of the traffic."""
    _submit(home, name, "pause", reason, by)


@app.command()
def resume(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Go on after a pause."""
    _submit(home, name, "resume", reason, by)


@app.command()
def retrain(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Ask for a training run now."""
    _submit(home, name, "train", reason, by)


@app.command(name="reset-breaker")
def reset_breaker(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Let signals start runs again after the loop-breaker has opened."""
    _submit(home, name, "reset-breaker", reason, by)


def _submit(home: HomeOption, name: str, verb: str, reason: str, by: str) -> None:
    embedded().submit(home, name, verb, reason, by or getpass.getuser())
    if embedded().turning(home):
        say(f"{name}: {verb} is in the loop's inbox; it acts on it in its next cycle")
        hint(f"noria why {name}")
    else:
        say(f"{name}: {verb} is in the loop's inbox, but no loop runs here to act on it")
        hint("noria up")
