"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

DEFAULT_HOME: Final = Path(".noria")


def at_home(home: Path) -> tuple[str, ...]:
    """Return the words that name a home to another command; none for the default one."""
    return () if home == DEFAULT_HOME else ("--home", str(home))


HomeOption: TypeAlias = Annotated[
    Path,
    typer.Option("--home", envvar="NORIA_HOME", help="Folder that holds all of Noria's state."),
]
NamespaceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--namespace", help="Speak to the operator of this namespace of $KUBECONFIG's cluster."
    ),
]
FileOption: TypeAlias = Annotated[
    Path, typer.Option("--file", "-f", help="The model.yaml.", metavar="FILE")
]
NameArgument: TypeAlias = Annotated[str, typer.Argument(help="Name of the model.", metavar="NAME")]
