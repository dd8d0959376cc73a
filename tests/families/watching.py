"""Watches a model of the toy: ``python watching.py FOLDER [elsewhere]``, with the toy on the path.

A process of its own, for families are found once in each. FOLDER has the model's file; what the
monitor, its replicas and a canary made of the same rows is printed as one JSON document. Elsewhere
the monitor has not got the toy, and gets what the operator hands to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np

from monitoring.adapter import MonitorMetrics
from monitoring.client import MonitorClient
from monitoring.config import MonitorConfig
from monitoring.partials.replica import Replica
from monitoring.processor import Role
from monitoring.readers import Outbox
from monitoring.service import Monitor, Setting
from monitoring.written import read, write
from noria.loop.fakes import FakeWorld
from noria.loop.fakes.metrics import FakeMetrics
from noria.loop.values import Compared, MetricQuery, Verb
from noria.spec import load_model

ROWS = 200
TARGETS = ("pleasant", "lively")
Post = Callable[[str, dict[str, str], bytes], object]

GOOD = [(0.4, -0.4)] * 150 + [(0.4, 2.0)] * 50
"""Labels of rows answered with 0: (150 + 50 / 2) / 200 within a half, and 0.6 off on average."""
BAD = [(0.0, 0.0)] * 100 + [(2.0, 2.0)] * 100


def reference(folder: Path) -> dict[str, Any]:
    """Write what training has seen, and return the body that puts it."""
    folder.mkdir()
    known = {"value": 0.9, "low": 0.88, "high": 0.92}
    document = {
        "format": 1,
        "features": [],
        "prediction": {"kind": "value", "targets": TARGETS},
        "performance": {"within-half": known, "mae": {"value": 0.5, "low": 0.4, "high": 0.6}},
    }
    (folder / "reference.json").write_text(json.dumps(document))
    np.savez(folder / "rows.npz", prediction=np.zeros((ROWS, 2)))
    return {"path": str(folder), "champion": True}


def answer(post: Post, name: str, version: str, rows: int = ROWS) -> None:
    """Tell of rows that a version answered with zeros."""
    for kind, column, datatype, shape, data in (
        ("request", "text", "BYTES", [rows], ["fine"] * rows),
        ("response", "prediction", "FP64", [rows, 2], [0.0] * 2 * rows),
    ):
        tensor = {"name": column, "datatype": datatype, "shape": shape, "data": data}
        headers = {
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": name,
            "ce-type": f"org.kubeflow.serving.inference.{kind}",
            "ce-source": "http://localhost/",
            "ce-inferenceservicename": "mood",
            "ce-annotations": json.dumps({"noria.dev/model-version": version}),
        }
        body = {"inputs" if kind == "request" else "outputs": [tensor]}
        post("/", headers, json.dumps(body).encode())


def label(post: Post, name: str, truth: list[tuple[float, float]]) -> None:
    """Tell the labels of all rows of a request."""
    labels = [
        {"id": f"{name}:{row}", "label": value, "target": target}
        for row, values in enumerate(truth)
        for target, value in zip(TARGETS, values, strict=True)
    ]
    body = json.dumps({"model": "mood", "labels": labels}).encode()
    post("/feedback", {"content-type": "application/json"}, body)


class Labelled(FakeMetrics):
    """What a real monitor measured of labels, and what was published of the rest."""

    def __init__(self, monitor: MonitorClient, of_labels: tuple[str, ...]) -> None:
        super().__init__()
        self._monitor = MonitorMetrics(monitor)
        self._of_labels = of_labels

    def measure(self, query: MetricQuery) -> Compared:
        if query.metric in self._of_labels:
            return self._monitor.measure(query)
        return super().measure(query)


def canary(file: Path, monitor: MonitorClient) -> dict[str, Any]:
    """Let the engine judge version 2 against version 1; return how that ended."""
    model = load_model(file)
    world = FakeWorld(model)
    world.clock.advance(timedelta(days=-5000))  # all that the monitor has came since
    world.metrics = Labelled(monitor, model.spec.family.metrics)
    world.install("1")
    world.tell(Verb.TRAIN)
    world.cycle()
    world.finish_run("2")
    world.cycle(4)
    world.answer("1", 5000, error_rate=0.0)
    world.answer("2", 5000, error_rate=0.0)
    world.cycle(4)
    state = world.state
    return {
        "ended": [(one.result, one.reason) for one in state.outcomes],
        "held": [hold.text for hold in state.holds],
        "champion": world.champion,
    }


def alone(file: Path, given: tuple[str, Path], put: dict[str, Any]) -> dict[str, Any]:
    """Watch by one monitor, a process of its own."""
    folder = file.parents[1]
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "monitoring", *map(str, given)]
    command += ["--state", str(folder / "alone"), "--ready-file", str(ready)]
    environment = dict(os.environ)
    if given[0] == "--config":
        del environment["PYTHONPATH"]
    with subprocess.Popen(command, env=environment) as process:
        try:
            until = time.monotonic() + 120
            while not ready.exists():
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            url = json.loads(ready.read_text())["url"]
            http, client = httpx.Client(base_url=url, timeout=60), MonitorClient(url)

            def post(path: str, headers: dict[str, str], body: bytes) -> None:
                http.post(path, headers=headers, content=body).raise_for_status()

            client.put_reference("mood", "1", Path(put["path"]), champion=True)
            client.flush()
            none = client.status("mood")["problems"]
            for name, version, truth in (("a", "1", GOOD), ("b", "2", BAD)):
                answer(post, name, version)
                label(post, name, truth)
            client.flush()
            first = client.status("mood")
            exposed = http.get("/metrics").text
            ended = canary(file, client)
            answer(post, "c", "1")
            label(post, "c", BAD)
            client.flush()
            asked = http.get("/models/mood/measure", params={"metric": "within-half"}).json()
            found = {
                "at once": none,
                "first": first,
                "exposed": exposed.splitlines(),
                "canary": ended,
                "second": client.status("mood"),
                "exposed again": http.get("/metrics").text.splitlines(),
                "measured": asked,
                "healthy": client.healthy(),
            }
            client.close()
            return found
        finally:
            process.terminate()
            process.wait(60)


def together(config: MonitorConfig, folder: Path, put: dict[str, Any]) -> dict[str, Any]:
    """Watch the same rows by two replicas and an aggregator; return its performance."""
    roles = {
        "aggregator": Role(replicas=2),
        **{f"replica{i}": Role(Replica(i, 2)) for i in (1, 2)},
    }
    fleet = {
        name: Monitor(config, Setting(folder / name, role=role), time.time)
        for name, role in roles.items()
    }
    body = json.dumps(put).encode()
    for monitor in fleet.values():
        monitor.put_reference("1", body).result()
        monitor.flush()

    def to(monitor: Monitor) -> Post:
        def post(path: str, headers: dict[str, str], body: bytes) -> None:
            if path == "/":
                monitor.accept(headers, body).result()
            else:
                monitor.feedback(body)[0].result()

        return post

    for i, truth in ((1, GOOD[100:]), (2, GOOD[:100])):
        post = to(fleet[f"replica{i}"])
        answer(post, f"r{i}", "1", len(truth))
        label(post, f"r{i}", truth)
        fleet[f"replica{i}"].flush()
        outbox = Outbox(folder / f"replica{i}" / "state.db")
        records = [msgspec.Raw(record) for _, record in outbox.first(1000)]
        fleet["aggregator"].partials(msgspec.msgpack.encode(records)).result()
        outbox.close()
    fleet["aggregator"].flush()
    found = fleet["aggregator"].status()
    for monitor in fleet.values():
        monitor.close()
    return dict(msgspec.to_builtins(found["performance"]))


if __name__ == "__main__":
    here = Path(sys.argv[1])
    model_file = here / "mood" / "model.yaml"
    given = reference(here / "reference")
    written = here / "monitor.json"
    written.write_text(write(load_model(model_file)))
    elsewhere = sys.argv[2:] == ["elsewhere"]
    said = alone(model_file, ("--config", written) if elsewhere else ("--model", model_file), given)
    said["together"] = together(read(written), here, given)
    sys.stdout.write(json.dumps(said, default=str))
