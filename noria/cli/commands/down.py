"""``noria down``."""

from __future__ import annotations

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, at_home
from noria.cli.output import hint, say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def down(home: HomeOption = DEFAULT_HOME) -> None:
    """Stop everything that `up` started here.

    Versions, the ledger and the monitor's windows stay in the folder.
    """
    embedded().down(home)
    say(f"stopped; the state is kept in {home}")
    hint("noria", "up", *at_home(home), note="carries on where it was")
