"""kill -9 while labelled rows are written to their table: each is there exactly once."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
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
from noria.served.rows import REQUEST, ROW, SOURCE, labelled
from noria.served.table import FOLDER, ServedTable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 40
LONGEST_LIFE = 2.0
JUDGE = "judge:rules"


def model_of(folder: Path, wire: SimpleNamespace) -> Path:
    document = wire.document(performance={"metrics": ["auc"], "window": {"rows": 100}})
    document["spec"]["data"]["served"] = {"retention": "36500d"}
    path = folder / "served.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


class Sender(threading.Thread):
    """Asks, labels, corrects and has the table written, each until it is acknowledged."""

    def __init__(self, process: Any, wire: SimpleNamespace, world: Any, seed: float) -> None:
        super().__init__(daemon=True)
        self._process, self._wire, self._world = process, wire, world
        self._chance = random.Random(seed)
        self.over = threading.Event()
        self.labels: dict[tuple[str, int], int] = {}
        self.corrected = 0

    def run(self) -> None:
        number = 0
        with httpx.Client(timeout=60) as http:
            while not self.over.is_set():
                self._one(http, f"r{number}", self._chance.choice((1, 3)), number)
                number += 1

    def _one(self, http: httpx.Client, request: str, rows: int, number: int) -> None:
        when = f"2013-02-{self._chance.randint(1, 4):02d}T10:00:00Z"
        body = self._world.request(rows, when=when)
        headers, content = self._wire.block([(request, body, self._world.scores(rows))])
        self._until_taken(http, "POST", "/", content, headers)
        if number % 3 == 0:
            # A judge is first, says otherwise, and gives way: a row more for each.
            self._label(http, request, rows, 1 - number % 2, source=JUDGE)
            self.corrected += rows
        self._label(http, request, rows, number % 2)
        if number % 3 == 1:
            # And here it comes too late.
            told = self.labels.copy()
            self._label(http, request, rows, 1 - number % 2, source=JUDGE)
            self.labels = told
        if number % 5 == 0:
            self._label(http, request, rows, 1 - number % 2, correct=True, time=when)
            self.corrected += rows

    def _label(self, http: httpx.Client, request: str, rows: int, label: int, **more: Any) -> None:
        labels = [{"id": f"{request}:{row}", "label": label, **more} for row in range(rows)]
        body = json.dumps({"model": self._wire.model, "labels": labels}).encode()
        self._until_taken(http, "POST", "/feedback", body, {"content-type": "application/json"})
        self.labels |= {(request, row): label for row in range(rows)}

    def _until_taken(
        self,
        http: httpx.Client,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        while True:
            url = self._process.ready()
            if url is not None:
                try:
                    answer = http.request(method, url + path, content=content, headers=headers)
                except httpx.HTTPError:
                    answer = None
                if answer is not None:
                    assert answer.status_code == 200, answer.text
                    return
            time.sleep(0.003)


class Reader(threading.Thread):
    """Reads the table all the time, for which the monitor writes what waits at once."""

    def __init__(self, process: Any, wire: SimpleNamespace) -> None:
        super().__init__(daemon=True)
        self._process, self._path = process, f"/models/{wire.model}/served"
        self.over = threading.Event()
        self.lists = 0

    def run(self) -> None:
        with httpx.Client(timeout=60) as http:
            while not self.over.is_set():
                url = self._process.ready()
                try:
                    if url is not None:
                        http.get(url + self._path).raise_for_status()
                        self.lists += 1
                except httpx.HTTPError:
                    pass
                time.sleep(0.003)


def until_something_is_written(folder: Path) -> None:
    """Return as soon as a file comes or goes, be it the draft of one."""
    before = sorted(folder.rglob("*part-*"))
    deadline = time.monotonic() + LONGEST_LIFE
    while time.monotonic() < deadline and sorted(folder.rglob("*part-*")) == before:
        time.sleep(0.0005)


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
    sender = Sender(process, wire, world, chance.random())
    reader = Reader(process, wire)
    sender.start()
    reader.start()
    for kill in range(KILLS):
        if kill % 3:
            process.wait_ready()  # of every third life even its start may be cut off
        if kill % 2:
            until_something_is_written(process.home / FOLDER)
            time.sleep(chance.choice((0.0, 0.001, 0.01)))
        else:
            time.sleep(chance.uniform(0, LONGEST_LIFE))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        process.spawn()
    process.wait_ready()
    sender.over.set()
    sender.join(120)
    assert not sender.is_alive()
    lists = reader.lists
    deadline = time.monotonic() + 120
    while reader.lists < lists + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    reader.over.set()
    reader.join(60)
    assert process.end() == 0
    table = ServedTable(process.home / FOLDER)
    found = labelled(table)
    rows = [row for piece in found.pieces for row in piece.table.to_pylist()]
    with capsys.disabled():
        print(
            f"{KILLS} kills, {len(sender.labels)} labelled rows, {sender.corrected} corrected, "
            f"listed {reader.lists} times, {len(table.parts())} files"
        )
    counts = Counter((row[REQUEST], row[ROW]) for row in rows)
    assert set(counts.values()) == {1}
    assert {(row[REQUEST], row[ROW]): row["late"] for row in rows} == sender.labels
    # Every row has a person's label in the end, whatever a judge said before and after.
    assert {row[SOURCE] for row in rows} == {"feedback"}
    # In the files themselves, too: a row for each label, and one for each correction.
    assert found.written == len(sender.labels) + sender.corrected
    assert found.set_aside == ()
    assert len(sender.labels) > KILLS / 2
