"""Where a training is, as one file: what a killed process carries on from to the same weights.

It has the network, the optimizer's state, the best weights so far, and the place among the
batches. What is random in a step is drawn by a seed of its own (``trainer``), and the learning rate
is a function of the step: so neither has a state to keep.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from noria.errors import TrainingError
from noria.tasks.neural.weights import packed

FILE: Final = "checkpoint.safetensors"
_SAID: Final = "noria"


class Epoch(msgspec.Struct, frozen=True):
    """One epoch: its number from 1, the mean loss of its steps, the metric on the validation part.

    ``value`` is None where there is no validation part.
    """

    number: int
    loss: float
    value: float | None = None


class Position(msgspec.Struct, frozen=True):
    """How far a training is: epochs done, steps done of the next one, and what they gave.

    ``loss`` is the sum over those steps. ``best`` is the number of the best epoch, 0: none yet.
    ``accumulate`` is what a lack of memory has made of the plan's.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best: int = 0
    accumulate: int = 1
    history: tuple[Epoch, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A position with the numbers that belong to it, by name."""

    position: Position
    network: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    best: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """A folder for the checkpoint of one training, written every so many ``steps``.

    ``study`` names what is trained on what: a checkpoint of another one is not read. After an epoch
    there is one in any case.
    """

    folder: Path
    study: str
    steps: int = 200

    def write(self, state: State) -> None:
        """Write the checkpoint in place of the last, whole or not at all.

        Raises:
            TrainingError: The folder can't be written.
        """
        tensors = {
            **{f"network.{name}": one for name, one in state.network.items()},
            **{f"optimizer.{name}": one for name, one in state.optimizer.items()},
            **{f"best.{name}": one for name, one in state.best.items()},
        }
        position = msgspec.json.encode(state.position).decode()
        content = packed(tensors, {_SAID: json.dumps({"study": self.study, "position": position})})
        draft = self.folder / f".{FILE}.{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(self.folder / FILE)
        except OSError as error:
            raise TrainingError(f"{self.folder}: a checkpoint can't be written: {error}") from error

    def read(self) -> State | None:
        """Return the checkpoint; None when there is none of this training."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                said = json.loads((file.metadata() or {}).get(_SAID, "{}"))
                if said.get("study") != self.study:
                    return None
                position = msgspec.json.decode(said["position"], type=Position)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, msgspec.DecodeError) as error:
            raise TrainingError(
                f"{path}: can't be read: {error}", fix="remove it; the training begins anew"
            ) from error
        kinds: dict[str, dict[str, Any]] = {"network": {}, "optimizer": {}, "best": {}}
        for name, one in tensors.items():
            kind, _, rest = name.partition(".")
            kinds[kind][rest] = one
        return State(position, **kinds)

    def remove(self) -> None:
        """Remove the checkpoint: the training has ended."""
        (self.folder / FILE).unlink(missing_ok=True)
