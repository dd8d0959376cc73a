"""``noria up``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, at_home
from noria.cli.output import hint, say
from noria.errors import InvalidInput

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def up(
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="A model.yaml; repeat it for more. Without it: the models known here.",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go on in the background once it is ready.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="How long --detach waits until ready."),
    ] = 600,
    observability: Annotated[
        bool | None,
        typer.Option(
            "--observability/--no-observability",
            help="Start Prometheus and Alertmanager too: rollouts are measured by them, and "
            "their alerts start runs. Remembered in the folder of the state.",
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Serve, watch and retrain models until stopped.

    Trains a first version where there is none. Carries on where it was after any crash: all
    state is in one folder. Stop it with Ctrl-C, SIGTERM or `noria down`.
    """
    from noria.spec import load_model
    from noria.tasks.families import require

    files = [path.resolve() for path in file or []]
    models = [load_model(path) for path in files]
    for model in models:
        require(model.spec)
    names = [model.name for model in models]
    if observability is not None:
        _observe(home, on=observability)
    if detach:
        from noria.cli.background import start

        for view in start(home, files, names, timeout).models:
            say(f"{view.name}: {view.url}")
        say("`noria predict NAME` asks one, with --row COLUMN=VALUE for each column")
        say(f"running in the background; log in {home / 'up.log'}")
        hint("noria", "status", *at_home(home))
        hint("noria", "down", *at_home(home))
        return
    known = ", ".join(names) or "the models known here"
    say(f"bringing up {known}; state in {home}; Ctrl-C stops")
    hint("noria", "status", *at_home(home), note="in another terminal")
    embedded().up(home, files, lambda text: say(f"  {text}"))
    say("stopped")
    hint("noria", "up", *at_home(home), note="carries on from here")


def _observe(home: Path, *, on: bool) -> None:
    """Remember the choice; it counts from the next start."""
    if embedded().turning(home):
        raise InvalidInput(
            f"{home}: `noria up` runs here already",
            fix=f"first `{shlex.join(('noria', 'down', *at_home(home)))}`, then ask again",
        )
    embedded().observe(home, on)
