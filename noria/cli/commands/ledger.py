"""``noria ledger``."""

from __future__ import annotations

from typing import Annotated

import typer

from noria.cli.cluster import connected
from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NamespaceOption
from noria.cli.output import say

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def ledger() -> None:
    """Verify that no decision was changed afterwards."""


@app.command()
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The model; without it, all of them.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
) -> None:
    """Check the chain of hashes from the first decision to the last.

    Exit code 1 and the number of the first entry that does not hold, if one does not.
    """
    from noria.loop.ledger import verify as check

    if namespace is None:
        loop = embedded()
        names = [name] if name is not None else [status.model for status in loop.status(home)]
        found = [(model, loop.entries(home, model), loop.head(home, model)) for model in names]
    else:
        there = connected(namespace)
        names = [name] if name is not None else [m["metadata"]["name"] for m in there.models()]
        found = [(model, there.entries(model), there.head(model)) for model in names]
    for model, entries, end in found:
        head = check(entries, end)
        say(f"{model}: {head.sequence} decisions, unbroken (head {head.hash[:12]})")
    if not names:
        say(f"no model in {home if namespace is None else namespace}")
