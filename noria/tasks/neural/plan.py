"""How a network is trained, and which rows are in which batch: values, no library."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a network is trained.

    Attributes:
        epochs: Times that every row is seen, at most.
        batch: Rows of one step of the optimizer, over all processes.
        accumulate: Parts that a process computes its share of a batch in, one after another.
        learning_rate: The greatest one, of AdamW.
        weight_decay: Of AdamW (Loshchilov and Hutter, 2019).
        warmup: Share of the steps in which the rate rises from 0; then it falls as a cosine to 0
            (Loshchilov and Hutter, 2017).
        clip: Greatest norm of the gradient; 0: it is not clipped.
        patience: Epochs without a gain on the validation part after which it ends; 0: never.
        seed: Of batches, dropout and augmentation.
        threads: Of PyTorch.
    """

    epochs: int = 10
    batch: int = 128
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.15
    clip: float = 1.0
    patience: int = 3
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("accumulate", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise InvalidInput(f"{name}: is {getattr(self, name)}", fix=f"give {least} or more")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise InvalidInput(
                f"learning_rate: is {self.learning_rate}", fix="give a number over 0"
            )
        if not 0.0 <= self.warmup < 1.0:
            raise InvalidInput(f"warmup: is {self.warmup}", fix="give a share, 0 to less than 1")

    def halved(self) -> Plan:
        """Return the plan of the same steps in parts of half the size."""
        return replace(self, accumulate=2 * self.accumulate)

    def steps(self, rows: int) -> int:
        """Return the steps of an epoch of so many rows."""
        return max(1, round(rows / self.batch))

    def rate(self, step: int, rows: int) -> float:
        """Return the learning rate of a step, counted from 0 over all epochs."""
        total = self.epochs * self.steps(rows)
        rising = self.warmup * total
        if step + 1 <= rising:
            return self.learning_rate * (step + 1) / rising
        done = (step - rising) / max(total - rising, 1.0)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(max(done, 0.0), 1.0)))

    def batches(self, epoch: int, rows: int) -> list[Places]:
        """Return the places of each batch of an epoch, counted from 0.

        They are of one size, but for one row: no batch is a small rest.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(rows).astype(np.int64)
        return np.array_split(order, self.steps(rows))

    def parts(self, batch: Places, rank: int, processes: int) -> list[Places]:
        """Return what a process computes of a batch, in order; no part is empty.

        Raises:
            InvalidInput: The batch has fewer rows than there are processes.
        """
        if batch.size < processes:
            raise InvalidInput(
                f"batch: {batch.size} rows for {processes} processes",
                fix="give a greater batch, or fewer nodes",
            )
        share = np.array_split(batch, processes)[rank]
        return np.array_split(share, min(self.accumulate, batch.size // processes))
