"""A log that is cut or overwritten: found at start, told, salvaged, never silently wrong."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.client import MonitorClient
from monitoring.config import MonitorConfig
from monitoring.damage import is_sound
from monitoring.records import RequestRecord, ResponseRecord, decode
from monitoring.service import Monitor, Setting
from noria.spec import load_model

ROUNDS = 12
Damage = Callable[[Path, random.Random], None]


def garbage(path: Path, chance: random.Random) -> None:
    """Overwrite a stretch of bytes somewhere."""
    body = bytearray(path.read_bytes())
    start = chance.randrange(len(body))
    stretch = chance.randbytes(chance.choice((1, 8, 100, 4096)))
    body[start : start + len(stretch)] = stretch[: len(body) - start]
    path.write_bytes(body)


def garbage_in_the_last_page(path: Path, chance: random.Random) -> None:
    body = path.read_bytes()
    path.write_bytes(body[:-4096] + chance.randbytes(4096))


def cut(path: Path, chance: random.Random) -> None:
    """Cut the end off, in the last pages."""
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: max(1, size - chance.randrange(1, min(size, 20_000)))])


def emptied(path: Path, chance: random.Random) -> None:
    del chance
    path.write_bytes(b"")


class Damaged:
    """A monitor that was killed with acknowledged events in its log, not all processed."""

    def __init__(
        self, lives: Callable[..., Any], world: Any, wire: SimpleNamespace, home: Path, name: str
    ) -> None:
        self.process = lives(home=home)
        self._wire, self._world = wire, world
        self.http = httpx.Client(base_url=self.process.start(), timeout=60)
        reference = world.reference(home.with_suffix(".reference"), 400)
        with MonitorClient(self.process.url) as client:
            client.put_reference(wire.model, "1", reference, champion=True)
        self.acknowledged: list[str] = []
        self.send(name, 40)
        self.http.post("/flush").raise_for_status()
        self.send(f"{name}-late", 40)
        self.process.end(signal.SIGKILL)
        self.http.close()

    def send(self, name: str, count: int) -> None:
        for i in range(count):
            for kind, body in (
                ("request", self._world.request(7)),
                ("response", self._wire.response(self._world.scores(7))),
            ):
                headers = self._wire.headers(f"{name}{i}", kind)
                self.http.post("/", headers=headers, content=json.dumps(body)).raise_for_status()
                self.acknowledged.append(f"{name}{i}/{kind}")

    def restart(self) -> dict[str, Any]:
        self.http = httpx.Client(base_url=self.process.start(), timeout=60)
        counts: dict[str, Any] = self.http.post("/flush").raise_for_status().json()
        return counts


def contents(home: Path) -> dict[str, bytes]:
    """Every event that the log holds and vouches for."""
    found = {}
    with sqlite3.connect(home / "log.db") as log:
        for row in log.execute("SELECT offset, received, rows, body, sum FROM log"):
            body = row[3]
            if not body or not is_sound(row):
                continue
            record = decode(body)
            if isinstance(record, RequestRecord | ResponseRecord):
                kind = "request" if isinstance(record, RequestRecord) else "response"
                found[f"{record.id}/{kind}"] = body
    return found


@pytest.mark.slow
@pytest.mark.parametrize("damage", [garbage, garbage_in_the_last_page, cut, emptied])
@pytest.mark.parametrize("file", ["log.db", "log.db-wal"])
def test_what_is_lost_is_counted_and_the_rest_is_right(
    lives: Callable[..., Any],
    world: Any,
    wire: SimpleNamespace,
    tmp_path: Path,
    file: str,
    damage: Damage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    chance = random.Random(seed)
    lost = 0
    for turn in range(ROUNDS if damage is garbage else 3):
        home = tmp_path / f"h{turn}"
        damaged = Damaged(lives, world, wire, home, "a")
        if file == "log.db":
            # All of it in the file itself.
            with sqlite3.connect(home / "log.db") as log:
                log.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            log.close()
        before = contents(home) if file == "log.db" else None
        damage(home / file, chance)
        counts = damaged.restart()
        told = counts["dropped"]
        missing = len(damaged.acknowledged) - counts["requests"] - counts["responses"]
        assert missing == told["unreadable"], f"seed {seed}: {counts}"
        lost += missing
        # It goes on: what comes now is processed, whatever was lost.
        damaged.send("after", 100)
        later = damaged.http.post("/flush").json()
        assert later["requests"] - counts["requests"] == 100, f"seed {seed}"
        assert later["rows"] >= counts["rows"] + 700
        assert later["dropped"]["unreadable"] == told["unreadable"]
        # What is in the log is what was sent, to the byte.
        if before is not None:
            kept = contents(home)
            assert all(kept[name] == before[name] for name in kept.keys() & before.keys())
        families = {
            family.name: {s.labels.get("reason"): s.value for s in family.samples}
            for family in text_string_to_metric_families(damaged.http.get("/metrics").text)
        }
        assert families["noria_monitor_dropped"]["unreadable"] == told["unreadable"]
        damaged.http.close()
        # Counted once, not at every start.
        damaged.process.end()
        again = damaged.restart()
        assert again["dropped"] == later["dropped"] | {"refused": 0}
        assert (again["requests"], again["rows"]) == (later["requests"], later["rows"])
        damaged.http.close()
        damaged.process.end()
    with capsys.disabled():
        print(f"\n{file} {damage.__name__}: {lost} records lost, all counted; seed {seed}")


def test_a_log_of_an_earlier_version_is_read(
    model_file: Callable[..., Path], world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    config = MonitorConfig.from_model(load_model(model_file()))
    home = tmp_path / "old"
    monitor = Monitor(config, Setting(home), lambda: 1e9)
    monitor._runner.stop()
    body = json.dumps(world.request(3)).encode()
    monitor.accept(wire.headers("r", "request"), body).result()
    monitor.close()
    with sqlite3.connect(home / "log.db") as log:
        log.execute("ALTER TABLE log DROP COLUMN sum")
    log.close()
    (home / "log.end").unlink()
    monitor = Monitor(config, Setting(home), lambda: 1e9)
    counts = monitor.flush()
    monitor.close()
    assert (counts["requests"], counts["dropped"]["unreadable"]) == (1, 0)


@pytest.mark.parametrize(
    "row",
    [
        (None, None, None, None),
        (1e9, None, b"body", None),
        (1e9, 3, None, None),
        ("then", 3, b"body", None),
        (1e9, 3, b"body", 0),
        (1e9, "three", b"body", 5),
    ],
)
def test_a_row_of_a_damaged_page_is_not_taken_for_a_record(row: tuple[Any, ...]) -> None:
    assert not is_sound((1, *row))


def test_a_record_of_an_earlier_version_has_no_checksum_and_is_sound() -> None:
    assert is_sound((1, 1e9, 3, b"body", None))
