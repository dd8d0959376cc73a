"""What the demo runs on: the flights example, copied into its home and cut to size."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

import noria
from noria.demo.figures import Mode
from noria.errors import InvalidInput
from noria.spec import Model, load_model
from noria.spec.text import read_yaml
from noria.tasks.sources.files import load_module

EXAMPLE: Final = Path(noria.__file__).resolve().parent.parent / "examples" / "flights"
QUICK_FRACTION: Final = 0.15

# What counts rows has to shrink with the sample, so that a window still spans the
# same days: (path in the file, least value that still makes sense).
_COUNTS: Final = (
    (("data", "validation", "minRows"), 100),
    (("gates", "minRows"), 200),
    (("serving", "canary", "minSamples"), 40),
    (("monitoring", "window", "rows"), 200),
    (("monitoring", "performance", "window", "rows"), 200),
)


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

    In quick mode a seeded sample of the flights is taken, and the settings that
    count rows (windows, least samples) are scaled by the same share.

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
    if fraction < 1:
        content = read_yaml(file.read_text(), origin=str(file))
        for path, least in _COUNTS:
            _scale(content["spec"], path, fraction, least)
        file.write_text(
            f"# The flights example for a sample of {fraction:.0%} of the flights: "
            "settings that count rows are scaled.\n" + yaml.safe_dump(content, sort_keys=False)
        )
    load_module(folder / "data.py").prepare(folder, fraction=fraction, seed=seed)
    return Stage(load_model(file), file, fraction)


def _scale(spec: Mapping[str, Any], path: tuple[str, ...], fraction: float, least: int) -> None:
    section: Any = spec
    for key in path[:-1]:
        section = section.get(key)
        if section is None:
            return
    if path[-1] in section:
        section[path[-1]] = max(least, round(section[path[-1]] * fraction))
