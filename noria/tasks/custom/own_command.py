"""The project's command: run on rows in a folder of its own, told by environment variables.

``docs/custom.md`` documents what it finds and what it writes; ``VARIABLES`` names them. A word
of the command may name one: ``$NORIA_DATA``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from noria.errors import InvalidInput, OwnCodeError
from noria.tasks.custom.folders import read_folder, write_folder

if TYPE_CHECKING:
    from noria.tasks.custom.dataset import Dataset

VARIABLES: Final = (
    "NORIA_DATA",
    "NORIA_TARGET",
    "NORIA_WEIGHT",
    "NORIA_PREDICTS",
    "NORIA_CLASSES",
    "NORIA_PARAMETERS",
    "NORIA_SEED",
    "NORIA_THREADS",
    "NORIA_OUTPUT",
)
WEIGHT: Final = "noria.weight"
_LAST_CHARS: Final = 1500
_PYTHONS: Final = ("python", "python3")


@dataclass(frozen=True, slots=True, eq=False)
class OwnCommand:
    """A command, the files that it needs, and what it learns to predict."""

    words: tuple[str, ...]
    code: Mapping[str, str]
    target: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return " ".join(self.words)

    def fit(self, train: Dataset) -> dict[str, bytes]:
        """Run the command on rows, and return what it wrote, by path in its output folder.

        Raises:
            InvalidInput: There is no such program.
            OwnCodeError: It ended with another code than 0, or wrote nothing.
        """
        with TemporaryDirectory(prefix="noria-own-") as place:
            folder = Path(place)
            work, output, given = folder / "work", folder / "output", folder / "given"
            for each in (work, output, given):
                each.mkdir()
            write_folder(work, {name: text.encode() for name, text in self.code.items()})
            told = self._told(train, given, output)
            self._run(work, told, folder / "log")
            files = read_folder(output)
        if not files:
            raise OwnCodeError(
                f"{self.name}: wrote nothing into the folder NORIA_OUTPUT",
                fix="save the fitted model there; docs/custom.md says in which formats",
            )
        return files

    def _told(self, train: Dataset, given: Path, output: Path) -> dict[str, str]:
        rows = train.features.assign(**{self.target: train.target})
        if train.weights is not None:
            rows[WEIGHT] = train.weights
        rows.to_parquet(given / "train.parquet", index=False)
        (given / "parameters.json").write_text(json.dumps(dict(train.parameters)))
        said = (
            str(given / "train.parquet"),
            self.target,
            "" if train.weights is None else WEIGHT,
            "class" if train.classes else "number",
            json.dumps(train.classes),
            str(given / "parameters.json"),
            str(train.seed),
            str(train.threads),
            str(output),
        )
        return dict(zip(VARIABLES, said, strict=True))

    def _run(self, work: Path, told: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as out:
            try:
                process = subprocess.Popen(
                    _program([Template(word).safe_substitute(told) for word in self.words]),
                    cwd=work,
                    env={"OMP_NUM_THREADS": told["NORIA_THREADS"], **os.environ, **told},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise InvalidInput(
                    f"spec.task.options.command: {self.words[0]} can't be started: "
                    f"{error.strerror}",
                    fix="name a program that is installed, such as [python, train.py]",
                ) from error
            try:
                code = process.wait()
            except BaseException:  # the time is over, or a person has stopped the run
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        said = log.read_bytes()[-_LAST_CHARS:].decode("utf-8", "replace").strip()
        if code:
            ended = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise OwnCodeError(
                f"{self.name}: {ended}; its last words:\n{said or '(none)'}",
                fix="run it by itself with the variables of docs/custom.md, and correct it",
            )
        sys.stderr.write(f"{said}\n" if said else "")


def _program(words: Sequence[str]) -> list[str]:
    """Return the command; ``python`` is the interpreter that runs Noria, with its libraries."""
    first = sys.executable if words[0] in _PYTHONS else words[0]
    return [first, *words[1:]]
