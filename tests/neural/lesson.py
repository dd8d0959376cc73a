"""A lesson for the trainer's tests, and what takes it: ``python lesson.py WHAT FOLDER``."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noria.tasks.neural.checkpoints import Checkpoints
from noria.tasks.neural.plan import Plan
from noria.tasks.neural.trainer import Trained, train

ROWS, HELD = 90, 30
PLAN = Plan(epochs=4, batch=16, learning_rate=0.02, patience=0, seed=3)


class Points:
    """Two clouds of points, told apart by a small network with dropout."""

    def __init__(self, dropout: float = 0.2, most: int = 0, killed_at: int = -1) -> None:
        chance = np.random.default_rng(0)
        codes = chance.integers(0, 2, ROWS + HELD)
        points = chance.normal(0.0, 1.0, (ROWS + HELD, 4)) + codes[:, None]
        self.points = torch.from_numpy(points.astype(np.float32))
        self.codes = torch.from_numpy(codes)
        torch.manual_seed(7)
        self.network: torch.nn.Module = torch.nn.Sequential(
            torch.nn.Linear(4, 16),
            torch.nn.ReLU(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(16, 2),
        )
        self.rows = ROWS
        self.most, self.killed_at, self.asked = most, killed_at, 0
        self.sizes: list[int] = []

    def losses(self, network: Any, places: Any, device: Any) -> torch.Tensor:
        self.asked += 1
        self.sizes.append(len(places))
        if self.asked == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.most and len(places) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        at = torch.from_numpy(places)
        return torch.nn.functional.cross_entropy(
            network(self.points[at]), self.codes[at], reduction="none"
        )

    def weight(self, places: Any) -> float:
        return float(len(places))

    def value(self, network: Any, device: Any) -> float | None:
        with torch.inference_mode():
            said = network(self.points[ROWS:]).argmax(dim=1)
        return float((said == self.codes[ROWS:]).float().mean())


def digest(done: Trained) -> str:
    found = hashlib.sha256()
    for name in sorted(done.weights):
        found.update(done.weights[name].numpy().tobytes())
    return found.hexdigest()


def killed(folder: Path) -> None:
    """Train in processes that are killed at random steps until one comes to the end."""
    chance = random.Random(5)
    # What PyTorch imports for its first step is imported once, and not by each child.
    train(Points(), replace(PLAN, epochs=1))
    for kills in range(50):
        child = os.fork()
        if not child:
            lesson = Points(killed_at=chance.randrange(4, 14))
            kept = Checkpoints(folder, "points", steps=3)
            done = train(lesson, PLAN, kept)
            (folder / "digest").write_text(digest(done))
            os._exit(0)
        chance.random()
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            print(json.dumps({"kills": kills, "digest": (folder / "digest").read_text()}))
            return


def together(folder: Path) -> None:
    """Train as one of several processes."""
    done = train(Points(dropout=0.0), PLAN)
    said = {"losses": [one.loss for one in done.history], "digest": digest(done)}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    {"killed": killed, "together": together}[sys.argv[1]](Path(sys.argv[2]))
