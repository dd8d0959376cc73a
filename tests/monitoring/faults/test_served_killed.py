"""kill -9 while labelled rows are written to their table: each is there exactly once."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

from monitoring.client import MonitorClient
from noria.served.rows import REQUEST, ROW, labelled
from noria.served.table import FOLDER, ServedTable

pytestmark = pytest.mark.slow

KILLS = 60
LONGEST_LIFE = 0.25


def model_of(folder: Path, wire: SimpleNamespace) -> Path:
    document = wire.document(performance={"metrics": ["auc"], "window": {"rows": 100}})
    document["spec"]["data"]["served"] = {"retention": "36500d"}
    path = folder / "served.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


class Client:
    """Sends until it is acknowledged, to whichever life answers."""

    def __init__(self, process: Any, wire: SimpleNamespace, world: Any) -> None:
        self._process, self._wire, self._world = process, wire, world
        self._http = httpx.Client(timeout=10)
        self.labels: dict[tuple[str, int], int] = {}
        self.corrected = 0

    def post(self, path: str, content: Any, headers: dict[str, str]) -> bool:
        url = self._process.ready()
        if url is None:
            return False
        try:
            answer = self._http.post(url + path, content=content, headers=headers)
        except httpx.HTTPError:
            return False
        assert answer.status_code == 200, answer.text
        return True

    def ask(self, request: str, rows: int, day: int) -> bool:
        when = f"2013-02-{day:02d}T10:00:00Z"
        body = self._world.request(rows, when=when)
        headers, content = self._wire.block([(request, body, self._world.scores(rows))])
        return self.post("/", content, headers)

    def label(self, request: str, rows: int, label: int, correct: int = 0) -> bool:
        labels = [{"id": f"{request}:{row}", "label": label} for row in range(rows)]
        if correct:
            at = f"2013-03-01T00:00:{correct:02d}Z"
            labels = [one | {"correct": True, "time": at} for one in labels]
        body = json.dumps({"model": self._wire.model, "labels": labels})
        if not self.post("/feedback", body, {"content-type": "application/json"}):
            return False
        self.labels |= {(request, row): label for row in range(rows)}
        self.corrected += bool(correct)
        return True


def test_every_labelled_row_is_in_the_table_once_whenever_the_monitor_is_killed(
    lives: Callable[..., Any],
    world: Any,
    wire: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = int(os.environ.get("NORIA_SEED", random.SystemRandom().randrange(1 << 30)))
    with capsys.disabled():
        print(f"\nseed {seed} (NORIA_SEED={seed} for the same again)")
    chance = random.Random(seed)
    process = lives(model=model_of(tmp_path, wire))
    process.start()
    reference = world.reference(tmp_path / "reference", rows=200, classes=(0, 1))
    with MonitorClient(process.url) as client:
        client.put_reference(wire.model, "1", reference, champion=True)
    client = Client(process, wire, world)
    table = ServedTable(process.home / FOLDER)
    kills = number = 0
    todo: list[Callable[[], bool]] = []
    dies = time.monotonic() + chance.uniform(0, LONGEST_LIFE)
    seen_files = 0
    while kills < KILLS:
        if not todo:
            request, rows, day = f"r{number}", chance.choice((1, 3)), chance.randint(1, 4)
            label, number = number % 2, number + 1
            todo = [
                lambda r=request, n=rows, d=day: client.ask(r, n, d),
                lambda r=request, n=rows, y=label: client.label(r, n, y),
            ]
            if number % 5 == 0:
                todo.append(lambda r=request, n=rows, y=label: client.label(r, n, 1 - y, 1))
            # The writer would wait for seconds: whoever reads the table makes it write at once.
            todo.append(lambda: written(process, wire))
        if todo[0]():
            todo.pop(0)
        else:
            time.sleep(0.003)
        if time.monotonic() > dies:
            assert process.end(signal.SIGKILL) == -signal.SIGKILL
            kills += 1
            seen_files = max(seen_files, len(table.parts()))
            process.spawn()
            dies = time.monotonic() + chance.uniform(0, LONGEST_LIFE)
            if kills % 3:  # two of three lives are long enough to come up
                process.wait_ready()
                dies = time.monotonic() + chance.uniform(0, LONGEST_LIFE)
    process.wait_ready()
    while todo:
        if todo[0]():
            todo.pop(0)
    assert written(process, wire)
    assert process.end() == 0
    found = labelled(table)
    rows_found = [row for piece in found.pieces for row in piece.table.to_pylist()]
    with capsys.disabled():
        print(
            f"{kills} kills, {number} requests, {len(client.labels)} labelled rows, "
            f"{client.corrected} requests corrected, {len(table.parts())} files"
        )
    counts = Counter((row[REQUEST], row[ROW]) for row in rows_found)
    assert set(counts.values()) == {1}
    assert {(row[REQUEST], row[ROW]): row["late"] for row in rows_found} == client.labels
    # In the files themselves, too: one row a label, and one a correction.
    corrected = sum(1 for (request, _) in client.labels if (int(request[1:]) + 1) % 5 == 0)
    assert found.written == len(client.labels) + corrected
    assert found.set_aside == ()
    assert len(client.labels) > KILLS / 2
    assert seen_files


def written(process: Any, wire: SimpleNamespace) -> bool:
    url = process.ready()
    if url is None:
        return False
    try:
        return httpx.get(f"{url}/models/{wire.model}/served", timeout=30).status_code == 200
    except httpx.HTTPError:
        return False
