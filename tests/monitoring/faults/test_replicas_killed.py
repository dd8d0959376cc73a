"""Replicas and their aggregator as processes, killed while they work: each row counts once."""

from __future__ import annotations

import json
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from monitoring.client import MonitorClient


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return str(found.getsockname()[1])


@pytest.mark.slow
def test_killed_replicas_and_a_killed_aggregator_count_each_row_once(
    lives: Callable[..., Any],
    model_file: Callable[..., Path],
    world: Any,
    wire: SimpleNamespace,
    tmp_path: Path,
) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    chance = random.Random(seed)
    model = model_file(window={"rows": 240})
    port = free_port()
    http = httpx.Client(timeout=60)
    aggregator = lives(model=model)
    aggregator.start("--replicas", "3", "--port", port)
    arguments = {
        i: ("--replica", f"{i}/3", "--aggregator", f"http://127.0.0.1:{port}") for i in (1, 2, 3)
    }
    replicas = {i: lives(model=model) for i in arguments}
    for i, replica in replicas.items():
        replica.start(*arguments[i])
    reference = world.reference(tmp_path / "reference", 500)
    for process in (aggregator, *replicas.values()):
        with MonitorClient(process.url) as client:
            client.put_reference(wire.model, "1", reference, champion=True)
    # 20 rows are a partial of each replica, 12 partials a window.
    for n in range(360):
        if n % 40 == 39:
            aggregator.end(signal.SIGKILL)
            aggregator.start("--replicas", "3", "--port", port)
        if n % 30 == 29:
            i = chance.choice((1, 2, 3))
            replicas[i].end(signal.SIGKILL)
            replicas[i].start(*arguments[i])
        replica = replicas[1 + n % 3]
        for kind, body in (
            ("request", world.request(10)),
            ("response", wire.response(world.scores(10))),
        ):
            headers = wire.headers(f"r{n}", kind)
            content = json.dumps(body)
            http.post(replica.url, headers=headers, content=content).raise_for_status()
    for replica in replicas.values():
        http.post(f"{replica.url}/flush").raise_for_status()
    deadline = time.monotonic() + 120
    with MonitorClient(aggregator.url) as client:
        while (counts := client.flush())["rows"] < 3600:
            assert time.monotonic() < deadline, f"seed {seed}: {counts}"
            time.sleep(0.2)
        status = client.status(wire.model)
        windows = client.windows(wire.model, "features")
        text = http.get(f"{aggregator.url}/metrics").text
    http.close()
    assert counts["rows"] == 3600
    assert {r["rows"] for r in status["replicas"].values()} == {1200}
    assert all(r["lost"] == 0 for r in status["replicas"].values())
    assert status["problems"] == {}
    assert [w["window"] for w in windows] == list(range(15))
    assert all(w["drift"]["features"]["samples"] == 240 for w in windows)
    assert all(w["missing"] == [] for w in windows[1:])
    assert sum(sum(w["replicas"].values()) for w in windows) == 3600
    assert 'replica_silence_seconds{model="flights",replica="2"}' in text
