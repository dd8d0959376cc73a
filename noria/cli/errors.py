"""How errors end a command: one message on stderr, a hint, an exit code."""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

import typer

from noria.errors import NoriaError, SpecError, shorten

BUG: Final = 70  # EX_SOFTWARE of sysexits.h
_OURS: Final = ("noria", "components", "pipelines", "serving", "monitoring", "feature_repo")


def refuse(error: NoriaError) -> NoReturn:
    """Tell an error that Noria raised on purpose."""
    if _debugging():
        raise error
    if isinstance(error, SpecError) and len(error.problems) > 1:
        typer.echo(f"error: {len(error.problems)} problems", err=True)
        for problem in error.problems:
            typer.echo(f"  {problem}", err=True)
    else:
        typer.echo(f"error: {error}", err=True)
    sys.exit(error.exit_code)


def system(error: OSError) -> NoReturn:
    """Tell what the system would not do with a file or a connection."""
    from noria.files import FULL

    if _debugging():
        raise error
    named = [shorten(str(name), 300) for name in (error.filename, error.filename2) if name]
    where = f"{' and '.join(named)}: " if named else ""
    fix = "; make room on its disk" if error.errno in FULL else ""
    typer.echo(f"error: {where}{error.strerror or shorten(str(error), 300)}{fix}", err=True)
    sys.exit(NoriaError.exit_code)


def not_installed(error: ModuleNotFoundError) -> NoReturn:
    """Tell that a library of an optional extra is missing, or that a part of Noria is."""
    missing = (error.name or "").partition(".")[0]
    if _debugging() or missing in _OURS:
        bug(error)
    typer.echo(
        f"error: {missing} is not installed; install Noria with all its parts:"
        " pip install 'noria[all]'",
        err=True,
    )
    sys.exit(2)


def bug(error: Exception) -> NoReturn:
    """Tell that something failed that should not have."""
    if _debugging():
        raise error
    said = shorten(str(error), 300)
    typer.echo(f"error: this is a bug in Noria: {type(error).__name__}: {said}", err=True)
    typer.echo("hint: run it again with NORIA_DEBUG=1 to see where", err=True)
    sys.exit(BUG)


def _debugging() -> bool:
    return os.environ.get("NORIA_DEBUG", "") not in ("", "0")
