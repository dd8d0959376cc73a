"""The ``noria`` command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process.

    Exit codes: 0 done; 1 an error; 2 bad input or usage; 70 a bug; 130 Ctrl-C.

    Args:
        arguments: What follows the program's name; None takes ``sys.argv``.
    """
    import sys

    from noria.cli.app import command

    command().main(args=arguments, prog_name="noria")
    sys.exit(0)
