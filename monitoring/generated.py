"""Files that are made from models: those of the examples, kept fresh, or a user's own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noria.errors import NoriaError
from noria.generated import check, write
from noria.spec import Model, load_model

_ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Generator:
    """What makes the files.

    Attributes:
        command: How a person runs it, for messages.
        folder: Where the examples' files are in the repository.
        files: Returns the text of each file of some models, by its path below a folder.
    """

    command: str
    folder: str
    files: Callable[[Sequence[Model]], Mapping[str, str]]

    def of_examples(self, root: Path) -> dict[str, str]:
        """Return the examples' files by their path in the repository."""
        models = [load_model(file) for file in sorted((root / "examples").glob("*/model.yaml"))]
        return {f"{self.folder}/{path}": text for path, text in self.files(models).items()}


def main(generator: Generator, arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with ``--check`` only say which are stale. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=generator.command)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--root", type=Path, default=_ROOT, help="folder of the repository")
    parser.add_argument("-f", "--file", type=Path, action="append", help="a model.yaml of yours")
    parser.add_argument("--out", type=Path, help="folder for the files of your models")
    given = parser.parse_args(arguments)
    if (given.file is None) != (given.out is None):
        parser.error("give -f and --out together")
    try:
        if given.file is not None:
            root, files = given.out, generator.files([load_model(file) for file in given.file])
        else:
            root, files = given.root, generator.of_examples(given.root)
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if given.check:
        return check(generator.command, files, root)
    write(files, root)
    return 0
