"""What vectors cost: to the server that tells of them, to the monitor, and to detectors on them.

Samples are one vector of float32 each and one number as answer, one sample a request, two hundred
in a block. Sending and detectors: CPU of this process, best of several runs. Sink: a monitor
process with MMD on the vectors, fed over loopback; CPU is all that it used, windows included.
"""

# ruff: noqa: E402 - one thread has to be asked for before numpy starts

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from monitoring.detectors import DetectorConfig, build_detector
from monitoring.table import Column, Table
from noria.predictions import MEDIA_TYPE
from serving.blocks import write_block
from serving.predicted import Predicted, Source
from serving.runner import Outcome
from tests.bench.monitoring.bench_monitoring import _cpu, monitor
from tests.bench.rows import Row, row

WIDTHS: Final = (384, 768)
WINDOW: Final = 1000
REFERENCE: Final = 2000
BLOCK: Final = 200
BLOCKS: Final = 40
_SOURCE: Final = Source("bench", "1")


def run() -> Iterator[Row]:
    """Return the figures of both widths."""
    for width in WIDTHS:
        yield from _sending(width)
        yield from _sink(width)
        yield from _detectors(width)


def _sending(width: int) -> Iterator[Row]:
    block = _predicted(width, 0)
    seconds = _cheapest(lambda: write_block(block, _SOURCE), 20)
    yield row(f"vectors.{width}.send", seconds / BLOCK * 1e6, "us/sample")


def _sink(width: int) -> Iterator[Row]:
    bodies = [write_block(_predicted(width, number), _SOURCE) for number in range(BLOCKS)]
    headers = {"content-type": MEDIA_TYPE}
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        reference = _reference(folder / "reference", width)
        with (
            monitor(folder, _model(width), reference) as (url, pid, _),
            httpx.Client(base_url=url, timeout=120) as http,
        ):
            began, used = time.perf_counter(), _cpu(pid)
            for body in bodies:
                http.post("/", headers=headers, content=body).raise_for_status()
            http.post("/flush").raise_for_status()
            samples = BLOCK * BLOCKS
            yield row(f"vectors.{width}.sink", samples / (time.perf_counter() - began), "samples/s")
            cpu = (_cpu(pid) - used) / samples
            yield row(f"vectors.{width}.sink.cpu", cpu * 1e6, "us/sample")


def _detectors(width: int) -> Iterator[Row]:
    random = np.random.default_rng(0)
    reference, window = _table(random, REFERENCE, width), _table(random, WINDOW, width)
    for kind in ("mmd", "classifier"):
        detector = build_detector(DetectorConfig("bench", kind, alpha=0.01), reference)

        def score() -> object:
            return detector.score(window)  # noqa: B023 - called before the next one is built

        yield row(f"vectors.{width}.{kind}", _cheapest(score, 5) * 1e3, "ms")


def _cheapest(work: Callable[[], object], times: int) -> float:
    costs = []
    for _ in range(times):
        began = time.process_time()
        work()
        costs.append(time.process_time() - began)
    return min(costs)


def _predicted(width: int, number: int) -> list[Predicted]:
    random = np.random.default_rng(number)
    return [
        Predicted(
            f"r{number}-{place}",
            Outcome(
                {"embedding": random.normal(size=(1, width)).astype(np.float32)},
                {"prediction": random.normal(size=1)},
                1,
            ),
            0.0,
            0.0,
        )
        for place in range(BLOCK)
    ]


def _table(random: np.random.Generator, rows: int, width: int) -> Table:
    values = random.normal(size=(rows, width)).astype(np.float32)
    return Table((Column("embedding", "vector", width=width),), {"embedding": values}, rows)


def _model(width: int) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "bench"},
        "spec": {
            "task": {"family": "custom", "options": {"predicts": "number"}},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": [{"name": "embedding", "type": "vector", "width": width}],
                "target": "y",
            },
            "monitoring": {"window": {"rows": WINDOW}},
        },
    }


def _reference(folder: Path, width: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(1)
    feature = {"name": "embedding", "kind": "vector", "width": width, "missing": 0.0}
    document = {"format": 1, "model": "bench", "rows": REFERENCE, "features": [feature]}
    (folder / "reference.json").write_text(json.dumps(document))
    vectors = random.normal(size=(REFERENCE, width)).astype(np.float32)
    np.savez(folder / "rows.npz", f0=vectors, prediction=random.normal(size=REFERENCE))
    return folder
