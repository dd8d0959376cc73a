"""Drift detectors against Alibi Detect's, and what the sink costs.

Detectors: CPU seconds of one window of 1000 rows against a reference of 10,000
(MMD: 2000), one thread, best of several runs; the baseline is Alibi Detect on
the same rows. Sink: a monitor process with its default detectors, fed over
loopback; CPU is all that the process used, from HTTP to windows.
"""

# ruff: noqa: E402 - one thread has to be asked for before numpy starts

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import yaml

from monitoring.client import MonitorClient
from monitoring.config import QualityRules
from monitoring.detectors import Detector, DetectorConfig, build_detector
from monitoring.quality import check_quality
from monitoring.table import Column, Table
from tests.bench.rows import Row, resident_mib, row

WINDOW: Final = 1000
REFERENCE: Final = 10_000
PERMUTATIONS: Final = 100


def run() -> list[Row]:
    """Return every measurement: name, value, unit, baseline, ratio (value / baseline)."""
    return [*detectors(), *sink()]


def detectors() -> Iterator[Row]:
    """Native detectors against Alibi Detect's."""
    for width in (10, 100, 768):
        yield _compared(f"drift.ks.1000x{width}", "ks", _numbers, width)
    for width in (10, 100):
        yield _compared(f"drift.chi2.1000x{width}", "chi-square", _categories, width)
    for width in (10, 100):
        yield _compared(f"drift.tabular.1000x{width}", "tabular", _mixed, width)
    options = {"referenceRows": 2000, "permutations": PERMUTATIONS}
    yield _compared("drift.mmd.1000x20", "mmd", _numbers, 20, options)


def passes() -> Iterator[Row]:
    """All that is done with one closed window of 20 columns: every detector, and the rules."""
    random = np.random.default_rng(0)
    rules = QualityRules(0.1, 0.05, 0.01)
    scores = Table.from_matrix(random.beta(2, 5, size=(REFERENCE, 1)), ("prediction",))
    reference, window = _mixed(random, REFERENCE, 20), _mixed(random, WINDOW, 20)
    ranges = {c.name: (-9.0, 9.0) for c in reference.schema if c.kind == "numeric"}
    config = DetectorConfig("bench", "tabular", alpha=0.01)
    univariate = [
        (build_detector(config, reference), window),
        (build_detector(replace(config, kind="ks"), scores), scores.slice(0, WINDOW)),
    ]
    joint = (build_detector(replace(config, kind="mmd"), reference), window)
    for name, detectors in (("default", univariate), ("with-mmd", [*univariate, joint])):
        costs = []
        for _ in range(5):
            began = time.process_time()
            for detector, rows in detectors:
                detector.score(rows)
            check_quality(window, ranges, {}, rules)
            costs.append(time.process_time() - began)
        yield row(f"detector.pass.{name}.1000x20", min(costs) * 1e3, "ms")


def _compared(
    name: str,
    kind: str,
    draw: Callable[[np.random.Generator, int, int], Table],
    width: int,
    options: dict[str, Any] | None = None,
) -> Row:
    random = np.random.default_rng(0)
    reference, window = draw(random, REFERENCE, width), draw(random, WINDOW, width)
    config = DetectorConfig("bench", kind, alpha=0.01, options=options or {})
    ours = _cheapest(build_detector(config, reference), window, 5)
    baseline = _cheapest(build_detector(replace(config, backend="alibi"), reference), window, 2)
    return row(name, ours * 1e3, "ms", baseline * 1e3)


def _cheapest(detector: Detector, window: Table, times: int) -> float:
    costs = []
    for _ in range(times):
        began = time.process_time()
        detector.score(window)
        costs.append(time.process_time() - began)
    return min(costs)


def _numbers(random: np.random.Generator, rows: int, width: int) -> Table:
    return Table.from_matrix(random.normal(size=(rows, width)))


def _categories(random: np.random.Generator, rows: int, width: int) -> Table:
    schema = tuple(Column(f"c{i}", "categorical", tuple("abcdefgh")) for i in range(width))
    columns = {c.name: random.integers(0, 8, rows).astype(np.int32) for c in schema}
    return Table(schema, columns, rows)


def _mixed(random: np.random.Generator, rows: int, width: int) -> Table:
    half = _numbers(random, rows, width // 2), _categories(random, rows, width - width // 2)
    return Table(half[0].schema + half[1].schema, {**half[0].columns, **half[1].columns}, rows)


def sink() -> Iterator[Row]:
    """What a monitor process takes in, and what that costs."""
    with tempfile.TemporaryDirectory() as folder, _monitor(Path(folder)) as (url, pid, ready):
        many = _bodies(rows=1000, requests=60, tag="m")
        single = _bodies(rows=1, requests=2000, tag="s")
        batch = _bodies(rows=1, requests=4000, tag="b")
        with httpx.Client(base_url=url, timeout=60) as http:
            _feed(http, many[:4], pid)
            seconds, cpu, _ = _feed(http, many, pid)
            rows = 60 * 1000
            yield row("sink.rows", rows / seconds, "rows/s")
            yield row("sink.rows.cpu", rows / cpu, "rows/CPU-s")
            seconds, cpu, slow = _feed(http, single, pid)
            yield row("sink.events", len(single) / seconds, "events/s")
            yield row("sink.events.cpu", cpu / len(single) * 1e6, "us/event")
            yield row("sink.events.p99", slow * 1e3, "ms")
            seconds, cpu, _ = _feed(http, _batches(batch, 100), pid)
            yield row("sink.batched.events", len(batch) / seconds, "events/s")
            yield row("sink.batched.cpu", cpu / len(batch) * 1e6, "us/event")
        yield row("monitor.ready.seconds", ready, "s")
        yield row("monitor.rss.mb", resident_mib(pid), "MiB")


def _feed(
    http: httpx.Client, posts: list[tuple[dict[str, str], bytes]], pid: int
) -> tuple[float, float, float]:
    """Return wall seconds, CPU seconds of the monitor, and the 99th percentile of an answer."""
    began, used = time.perf_counter(), _cpu(pid)
    answers = []
    for headers, body in posts:
        asked = time.perf_counter()
        http.post("/", headers=headers, content=body).raise_for_status()
        answers.append(time.perf_counter() - asked)
    http.post("/flush").raise_for_status()
    return time.perf_counter() - began, _cpu(pid) - used, float(np.quantile(answers, 0.99))


@contextmanager
def monitor(
    folder: Path, document: dict[str, Any], reference: Path
) -> Iterator[tuple[str, int, float]]:
    """Run a monitor of a model; yield its URL, its process id and the seconds to ready."""
    (folder / "model.yaml").write_text(yaml.safe_dump(document))
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "monitoring", "--model", str(folder / "model.yaml")]
    command += ["--state", str(folder / "state"), "--ready-file", str(ready)]
    began = time.monotonic()
    process = subprocess.Popen(command)
    try:
        while not ready.exists():
            if process.poll() is not None or time.monotonic() - began > 60:
                raise RuntimeError("the monitor did not start")
            time.sleep(0.005)
        seconds = time.monotonic() - began
        url = json.loads(ready.read_text())["url"]
        with MonitorClient(url) as client:
            client.put_reference(document["metadata"]["name"], "1", reference, champion=True)
        yield url, process.pid, seconds
    finally:
        process.terminate()
        process.wait(30)


def _monitor(folder: Path) -> AbstractContextManager[tuple[str, int, float]]:
    return monitor(folder, _model(), _reference(folder / "reference"))


def _model() -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "bench"},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": [
                    {"name": "carrier", "type": "categorical"},
                    *({"name": f"x{i}", "type": "numeric"} for i in range(4)),
                ],
                "target": "late",
                "entityKey": ["id"],
            },
            "monitoring": {"window": {"rows": WINDOW}},
        },
    }


def _reference(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    numeric = [{"name": f"x{i}", "kind": "numeric", "min": -9.0, "max": 9.0} for i in range(4)]
    carrier = {"name": "carrier", "kind": "categorical", "categories": list("ABCDE")}
    document = {"format": 1, "model": "bench", "rows": REFERENCE, "features": [carrier, *numeric]}
    (folder / "reference.json").write_text(json.dumps(document))
    columns: dict[str, Any] = {f"f{i + 1}": random.normal(size=REFERENCE) for i in range(4)}
    columns["f0"] = random.integers(0, 5, REFERENCE).astype(np.int32)
    np.savez(folder / "rows.npz", **columns, prediction=random.beta(2, 5, REFERENCE))
    return folder


def _bodies(rows: int, requests: int, tag: str) -> list[tuple[dict[str, str], bytes]]:
    random = np.random.default_rng(1)
    posts = []
    for number in range(requests):
        keys = [f"{tag}-{number}-{row}" for row in range(rows)]
        inputs = [_tensor("carrier", "BYTES", random.choice(list("ABCDE"), rows).tolist())]
        inputs += [
            _tensor(f"x{i}", "FP64", random.normal(size=rows).round(3).tolist()) for i in range(4)
        ]
        inputs.append(_tensor("id", "BYTES", keys))
        outputs = [_tensor("probability", "FP64", random.beta(2, 5, rows).round(6).tolist())]
        for kind, body in (("request", {"inputs": inputs}), ("response", {"outputs": outputs})):
            headers = {
                "ce-specversion": "1.0",
                "ce-id": f"{tag}{number}",
                "ce-type": f"org.kubeflow.serving.inference.{kind}",
                "ce-source": "http://localhost:9081/",
                "ce-inferenceservicename": "bench",
                "ce-annotations": '{"noria.dev/model-version":"1"}',
                "content-type": "application/json",
            }
            posts.append((headers, json.dumps(body).encode()))
    return posts


def _batches(
    posts: list[tuple[dict[str, str], bytes]], size: int
) -> list[tuple[dict[str, str], bytes]]:
    batches = []
    for start in range(0, len(posts), size):
        events = [
            {
                **{name[3:]: value for name, value in headers.items() if name.startswith("ce-")},
                "data": json.loads(body),
            }
            for headers, body in posts[start : start + size]
        ]
        headers = {"content-type": "application/cloudevents-batch+json"}
        batches.append((headers, json.dumps(events).encode()))
    return batches


def _tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def _cpu(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
