"""One answered request, as the payload log keeps it until the monitor has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from noria.exchange.moments import days_of
from noria.tasks.package import Manifest
from serving.runner import Outcome

_EVENT_BYTES: Final = 512
"""About what an entry needs beside its values."""


class Predicted(NamedTuple):
    """What was asked and answered under one id; moments are seconds since 1970 UTC."""

    id: str
    outcome: Outcome
    received: float
    answered: float

    @property
    def width(self) -> int:
        """How many values it holds in each row."""
        outcome = self.outcome
        held = (*outcome.columns.values(), *outcome.results.values())
        return sum(values.size for values in held) // max(outcome.rows, 1)


def columns_of(manifest: Manifest) -> frozenset[str]:
    """Return what an outcome of this package may hold: inputs, looked-up features, outputs.

    Descriptors too.
    """
    looked_up = manifest.lookup.features if manifest.lookup is not None else ()
    inputs = (given.name for given in manifest.inputs)
    outputs = (output.name for output in manifest.outputs)
    described = (one.name for one in manifest.features if one.origin == "descriptor")
    return frozenset((*inputs, *looked_up, *described, *outputs))


def size_of(outcome: Outcome) -> int:
    """Return about how many bytes an outcome holds, its texts included."""
    return _EVENT_BYTES + _bytes(outcome.columns) + _bytes(outcome.results)


def _bytes(columns: Mapping[str, np.ndarray[Any, Any]]) -> int:
    total = 0
    for values in columns.values():
        total += values.nbytes
        if values.dtype.kind == "O":
            total += sum(len(value) for value in values.flat if isinstance(value, str))
    return total


@dataclass(frozen=True, slots=True)
class Source:
    """Whose predictions they are. Inputs and outputs in ``redact`` are never sent.

    ``hidden`` are those, and what is made of a moment among them.
    """

    model: str
    version: str
    namespace: str = ""
    redact: frozenset[str] = frozenset()
    hidden: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Derive what is hidden."""
        object.__setattr__(self, "hidden", self.redact | set(map(days_of, self.redact)))
