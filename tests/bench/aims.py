"""What the figures should be. A figure without an entry is measured for its own sake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from tests.bench.rows import Row


@dataclass(frozen=True, slots=True)
class Aim:
    """An upper bound on a figure's value or on its ratio to the baseline."""

    of: Literal["value", "ratio"]
    at_most: float

    def met(self, row: Row) -> bool:
        """Whether the figure is within the bound."""
        found = row[self.of]
        return found is not None and found <= self.at_most

    def __str__(self) -> str:
        return f"<= {self.at_most:g}{'x' if self.of == 'ratio' else ''}"


_HALF: Final = Aim("ratio", 0.5)

AIMS: Final[Mapping[str, Aim]] = {
    # Half of FastAPI + orjson doing the same prediction.
    "serve.json.1": _HALF,
    "serve.json.1000x4": _HALF,
    "serve.binary.1000x4": _HALF,
    "serve.grpc.1000x4": _HALF,
    "serve.ready.seconds": Aim("value", 4.0),
    "serve.rss.mb": Aim("value", 350.0),
    # One core takes in 20,000 rows in a second.
    "sink.sustained.columns.cpu.row": Aim("value", 50.0),
    "sink.sustained.batched.cpu.row": Aim("value", 50.0),
    "sink.sustained.single.cpu.row": Aim("value", 50.0),
    "sink.sustained.rows200.cpu.row": Aim("value", 50.0),
    # Of what serving costs, in the monitor's process.
    "watch.1.all": Aim("ratio", 0.05),
    "watch.1.sampled": Aim("ratio", 0.05),
    "watch.1000.all": Aim("ratio", 0.05),
    "watch.1000.sampled": Aim("ratio", 0.05),
    # CPU of the command with all its processes; memory of the largest of them.
    "train.first.cpu": Aim("value", 8.0),
    "train.long.cpu": Aim("value", 60.0),
    "train.long.rss.mb": Aim("value", 1024.0),
    "train.wide.cpu": Aim("value", 60.0),
    # Ten retrains or so, and those of the rules that the loop must beat.
    "backtest.walk": Aim("value", 180.0),
    # A quarter slower than the predictor alone is .8 of its speed.
    "batch.rows.slower": Aim("value", 1.25),
    "batch.rss.mb": Aim("value", 1024.0),
    "batch.kills.changed": Aim("value", 0.0),
    "cli.help": Aim("value", 0.3),
    "up.rss.mb": Aim("value", 1536.0),
    "up.flights.rss.mb": Aim("value", 1536.0),
}
