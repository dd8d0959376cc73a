"""Files that are made from the examples: written, or checked for being fresh."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]


def main(
    command: str,
    generated: Callable[[Path], Mapping[str, str]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Write the files, or with ``--check`` only say which are stale. Returns the exit code.

    Args:
        command: How a person runs this, for messages.
        generated: Returns the text of each file by its path below the repository's folder.
        arguments: Of the command line; None takes the process's own.
    """
    parser = argparse.ArgumentParser(prog=command)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--root", type=Path, default=_ROOT, help="folder of the repository")
    given = parser.parse_args(arguments)
    files = generated(given.root)
    if given.check:
        old = [path for path, text in files.items() if _read(given.root / path) != text]
        for path in old:
            sys.stderr.write(f"{path} is stale; run `{command}`\n")
        return 1 if old else 0
    for path, text in files.items():
        file = given.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None
