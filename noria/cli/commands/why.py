"""``noria why``."""

from __future__ import annotations

from typing import Annotated

import typer

from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument, NamespaceOption
from noria.cli.output import hint, say
from noria.cli.places import flags, place_of

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def why(
    name: NameArgument,
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, help="Only the newest lines; 0: all.")
    ] = 30,
    kind: Annotated[
        str | None, typer.Option(help="Only lines of a kind, such as run or rollout.")
    ] = None,
    mention: Annotated[
        str | None, typer.Option(help="Only lines with this word, such as v3.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
) -> None:
    """Tell why a model is as it is: its ledger in sentences.

    Every decision with what it saw, oldest first.
    """
    from noria.loop.ledger import why as sentences

    place, where = place_of(home, namespace), flags(home, namespace)
    state = place.state(name)
    lines = sentences(place.entries(name), kind=kind, mention=mention)
    if not lines:
        say(f"{name}: nothing was decided{' that fits' if kind or mention else ' yet'}")
        hint("noria", "status", *where)
        return
    shown = lines[-last:] if last else lines
    if len(shown) < len(lines):
        say(f"({len(lines) - len(shown)} earlier lines; --last 0 shows all)")
    for line in shown:
        say(line)
    for hold in () if state is None else state.holds:
        say(f"  now  {hold.text}")
    hint("noria", "ledger", "verify", name, *where, note="was any of this changed afterwards?")
