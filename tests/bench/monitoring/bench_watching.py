"""What watching a model costs beside serving it: CPU of the same traffic, row by row.

A model server of a linear model of four features answers clients, and posts every
prediction (or a sample) to a monitor with the default detectors. Rounds take turns between
a server without a monitor, one with all its traffic logged, and one with a twentieth.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from monitoring.client import MonitorClient
from noria.tasks.tabular.hand_made import package_linear
from tests.bench.monitoring.bench_monitoring import _cpu, monitor
from tests.bench.rows import Row, row
from tests.bench.serving.bench_serving import _end, _http, _noria, _rest

ROUNDS: Final = 5
SECONDS: Final = 1.0
SAMPLE: Final = 0.05
FEATURES: Final = list("abcd")


def run() -> Iterator[Row]:
    """Requests of one row and of a thousand."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        package = home / "linear"
        package_linear(package, "m", FEATURES, [0.5, -0.25, 1.0, 0.1], 0.1)
        reference = _reference(home / "reference")
        with monitor(home, _model(), reference) as (url, pid, _):
            for rows in (1, 1000):
                yield from _watching(home, package, url, pid, rows)


def _watching(home: Path, package: Path, url: str, pid: int, rows: int) -> Iterator[Row]:
    alone = _noria(home, package)
    logged = _noria(home, package, "--sink", url)
    sampled = _noria(home, package, "--sink", url, "--sample", str(SAMPLE))
    request = _request(rows)
    cost: dict[str, list[float]] = {name: [] for name in ("alone", "logged", "sampled")}
    watching: dict[str, list[float]] = {"logged": [], "sampled": []}
    try:
        with MonitorClient(url, timeout=300) as client:
            for _ in range(ROUNDS):
                for name, server in (("alone", alone), ("logged", logged), ("sampled", sampled)):
                    used, watched = server.cpu, _cpu(pid)
                    answered = asyncio.run(_rest(server, request)(SECONDS))
                    _settle(client)
                    cost[name].append((server.cpu - used) / answered * 1e6)
                    if name != "alone":
                        watching[name].append((_cpu(pid) - watched) / answered * 1e6)
    finally:
        for server in (alone, logged, sampled):
            _end(server)
    base = statistics.median(cost["alone"])
    yield row(f"watch.{rows}.serving", base, "us/request")
    for name, part in (("logged", "all"), ("sampled", "sampled")):
        more = statistics.median(cost[name]) - base
        yield row(f"watch.{rows}.{part}.sending", more, "us/request", base)
        yield row(f"watch.{rows}.{part}", statistics.median(watching[name]), "us/request", base)


def _settle(client: MonitorClient) -> None:
    """Wait until the server's queue is empty and the monitor has worked through its log."""
    before = -1
    while (now := int(client.flush()["received"])) != before:
        before = now
        asyncio.run(asyncio.sleep(0.1))


def _request(rows: int) -> bytes:
    values = np.random.default_rng(0).normal(size=(rows, 4)).round(3).ravel().tolist()
    tensor = {"name": "input-0", "shape": [rows, 4], "datatype": "FP64", "data": values}
    # Without an id: the server gives each request its own, and each counts.
    return _http(json.dumps({"inputs": [tensor]}).encode(), "Content-Type: application/json")


def _model() -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "m"},
        "spec": {
            "task": {"family": "tabular-regression"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": [{"name": name, "type": "numeric"} for name in FEATURES],
                "target": "y",
            },
            "monitoring": {"window": {"rows": 1000}},
        },
    }


def _reference(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    features = [{"name": n, "kind": "numeric", "min": -9.0, "max": 9.0} for n in FEATURES]
    document = {"format": 1, "model": "m", "rows": 10_000, "features": features}
    (folder / "reference.json").write_text(json.dumps(document))
    columns: dict[str, Any] = {f"f{i}": random.normal(size=10_000) for i in range(4)}
    np.savez(folder / "rows.npz", **columns, prediction=random.normal(size=10_000))
    return folder
