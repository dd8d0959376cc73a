"""What the demo runs on: the flights example, copied into its home and cut to size."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import noria
from noria.demo.figures import Mode
from noria.errors import InvalidInput
from noria.spec import Model, load_model
from noria.tasks.sources.files import load_module

EXAMPLE: Final = Path(noria.__file__).resolve().parent.parent / "examples" / "flights"
QUICK_FRACTION: Final = 0.15


@dataclass(frozen=True, slots=True)
class Stage:
    """A model file with its data beside it."""

    model: Model
    file: Path
    fraction: float

    @property
    def base(self) -> Path:
        """The folder of the model file."""
        return self.file.parent


def set_up(folder: Path, mode: Mode, seed: int) -> Stage:
    """Copy the example into ``folder`` and prepare its data.

    In quick mode a seeded sample of the flights is taken; the settings are the same.

    Raises:
        InvalidInput: The example isn't there (an installation without the source tree).
    """
    if not EXAMPLE.is_dir():
        raise InvalidInput(
            f"the demo's example is not at {EXAMPLE}",
            fix="run the demo from a clone of Noria's repository",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.yaml", "data.py"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    fraction = QUICK_FRACTION if mode == "quick" else 1.0
    file = folder / "model.yaml"
    load_module(folder / "data.py").prepare(folder, fraction=fraction, seed=seed)
    return Stage(load_model(file), file, fraction)
