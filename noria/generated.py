"""Writes generated files into the repository, or says which of them are stale."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from noria.errors import NoriaError

_ROOT: Final = Path(__file__).resolve().parents[1]


def stale(files: Mapping[str, str], root: Path) -> list[str]:
    """Return the paths whose file below ``root`` is missing or has another text."""
    return [path for path, text in files.items() if _read(root / path) != text]


def run(
    program: str,
    made: Callable[[], Mapping[str, str]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Write what ``made`` returns (text by path in the repository), or with ``--check`` compare.

    ``program`` is the module that was started. Returns the exit code.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--root", type=Path, default=_ROOT, help="folder of the repository")
    given = parser.parse_args(arguments)
    try:
        files = made()
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if given.check:
        return check(f"python -m {program}", files, given.root)
    write(files, given.root)
    return 0


def check(command: str, files: Mapping[str, str], root: Path) -> int:
    """Name every stale file and the ``command`` that makes it; return the exit code."""
    old = stale(files, root)
    for path in old:
        sys.stderr.write(f"{path} is stale; run `{command}`\n")
    return 1 if old else 0


def write(files: Mapping[str, str], root: Path) -> None:
    """Write ``files`` (text by path below ``root``) and name each."""
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None
