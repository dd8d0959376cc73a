"""``noria rollout``: what a person may tell the loop."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from noria.cli.cluster import connected
from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument, NamespaceOption
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
    namespace: NamespaceOption = None,
) -> None:
    """Give the candidate all of the traffic now, without the remaining steps."""
    _submit(_place(home, namespace), name, "promote", reason, by)


@app.command()
def abort(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
) -> None:
    """Put all of the traffic back on the champion, or cancel the training run."""
    _submit(_place(home, namespace), name, "abort", reason, by)


@app.command()
def pause(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
) -> None:
    """Hold the candidate at its share of the traffic."""
    _submit(_place(home, namespace), name, "pause", reason, by)


@app.command()
def resume(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
) -> None:
    """Go on after a pause."""
    _submit(_place(home, namespace), name, "resume", reason, by)


@app.command()
def retrain(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
) -> None:
    """Ask for a training run now."""
    _submit(_place(home, namespace), name, "train", reason, by)


@app.command(name="reset-breaker")
def reset_breaker(
    name: NameArgument,
    reason: ReasonOption = "",
    by: ByOption = "",
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
) -> None:
    """Let signals start runs again after the loop-breaker has opened."""
    _submit(_place(home, namespace), name, "reset-breaker", reason, by)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a command goes: a folder of this machine, or a namespace of a cluster."""

    submit: Callable[[str, str, str, str], None]
    turning: Callable[[str], bool]
    why: str
    mend: str


def _place(home: Path, namespace: str | None) -> _Place:
    if namespace is None:
        loop = embedded()
        return _Place(
            lambda *asked: loop.submit(home, *asked),
            lambda _: loop.turning(home),
            why="",
            mend="noria up",
        )
    there = connected(namespace)
    return _Place(
        there.submit,
        there.turning,
        why=f" --namespace {namespace}",
        mend=f"noria doctor --namespace {namespace}",
    )


def _submit(place: _Place, name: str, verb: str, reason: str, by: str) -> None:
    place.submit(name, verb, reason, by or getpass.getuser())
    if place.turning(name):
        say(f"{name}: {verb} is in the loop's inbox; it acts on it in its next cycle")
        hint(f"noria why {name}{place.why}")
    else:
        say(f"{name}: {verb} is in the loop's inbox, but no loop runs here to act on it")
        hint(place.mend)
