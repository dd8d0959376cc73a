"""``noria rollout``: what a person may tell the loop."""

from __future__ import annotations

import getpass
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument, NamespaceOption
from noria.cli.output import hint, say
from noria.cli.places import flags, place_of

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


def _add(name: str, verb: str, about: str) -> None:
    """Add a command that puts one verb into the loop's inbox."""

    @app.command(name=name, help=about)
    def told(
        name: NameArgument,
        reason: ReasonOption = "",
        by: ByOption = "",
        home: HomeOption = DEFAULT_HOME,
        namespace: NamespaceOption = None,
    ) -> None:
        submit(name, verb, reason, by, home, namespace)


_add(
    "promote", "promote", "Give the candidate all of the traffic now, without the remaining steps."
)
_add("abort", "abort", "Put all of the traffic back on the champion, or cancel the training run.")
_add("pause", "pause", "Hold the candidate at its share of the traffic.")
_add("resume", "resume", "Go on after a pause.")
_add("retrain", "train", "Ask for a training run now.")
_add(
    "reset-breaker",
    "reset-breaker",
    "Let signals start runs again after the loop-breaker has opened.",
)


def submit(name: str, verb: str, reason: str, by: str, home: Path, namespace: str | None) -> None:
    """Put a command into the loop's inbox, and say who acts on it."""
    from noria.loop.values import Command, Verb

    place, where = place_of(home, namespace), flags(home, namespace)
    now = datetime.now(UTC)
    asked = Command(uuid.uuid4().hex, Verb(verb), now, by or getpass.getuser(), reason)
    place.submit(name, asked)
    if place.turning(name):
        say(f"{name}: {verb} is in the loop's inbox; it acts on it in its next cycle")
        hint("noria", "why", name, *where)
    else:
        say(f"{name}: {verb} is in the loop's inbox, but no loop runs here to act on it")
        hint("noria", "up" if namespace is None else "doctor", *where)
