"""The parts of the benchmark. Each runs in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Part:
    """A function that measures: ``package.module:function``, returning rows.

    ``names`` are the beginnings of the names of its figures; ``seconds`` about how
    long it takes on two idle cores.
    """

    target: str
    names: tuple[str, ...]
    seconds: int

    def wanted(self, only: str) -> bool:
        """Whether a figure of this part can begin with ``only``."""
        return any(name.startswith(only) or only.startswith(name) for name in self.names)


PARTS: Final = (
    Part(
        "tests.bench.serving.bench_serving:requests",
        ("serve.json.", "serve.binary.", "serve.grpc."),
        100,
    ),
    Part(
        "tests.bench.serving.bench_serving:resources", ("serve.ready.seconds", "serve.rss.mb"), 15
    ),
    Part("tests.bench.monitoring.bench_monitoring:detectors", ("drift.",), 45),
    Part("tests.bench.monitoring.bench_monitoring:passes", ("detector.pass.",), 5),
    Part(
        "tests.bench.monitoring.bench_monitoring:sink",
        ("sink.rows", "sink.events", "sink.batched.", "monitor."),
        15,
    ),
    Part("tests.bench.monitoring.bench_sustained:run", ("sink.sustained.",), 50),
    Part("tests.bench.monitoring.bench_watching:run", ("watch.",), 30),
    Part("tests.bench.monitoring.bench_vectors:run", ("vectors.",), 40),
    Part("tests.bench.bench_custom:run", ("custom.",), 10),
    Part("tests.bench.bench_texts:run", ("texts.",), 35),
    Part("tests.bench.bench_loop:run", ("loop.",), 5),
    Part("tests.bench.bench_pipeline:run", ("pipeline.",), 15),
    Part("tests.bench.bench_train:run", ("train.",), 100),
    Part("tests.bench.bench_backtest:run", ("backtest.",), 240),
    Part("tests.bench.bench_batch:run", ("batch.",), 240),
    Part("tests.bench.bench_command:run", ("cli.",), 5),
    Part("tests.bench.bench_up:delay_minutes", ("up.ready.", "up.restart.", "up.rss."), 35),
    Part("tests.bench.bench_up:flights", ("up.flights.",), 60),
    Part("tests.bench.bench_alerts:loop", ("alert.",), 60),
    Part("tests.bench.bench_alerts:receiver", ("webhook.",), 15),
)
