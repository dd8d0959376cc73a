"""The monitor's own files, damaged: it starts, says so, and goes on with what knows better."""

from __future__ import annotations

import random
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitoring.exposition import Exposition
from monitoring.partials.replica import Replica
from monitoring.processor import Role
from monitoring.service import Monitor, Setting

Make = Callable[..., Any]


def garbage(path: Path, size: int = 50, seed: int = 1) -> None:
    body = bytearray(path.read_bytes())
    start = random.Random(seed).randrange(0, max(1, len(body) - size))
    body[start : start + size] = random.Random(seed + 1).randbytes(size)
    path.write_bytes(body)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nonsense(path: Path) -> None:
    path.write_bytes(b"\xff" * 4096)


DAMAGE = [garbage, truncate, empty, nonsense]


@pytest.fixture
def watched(bench: Make, world: Any, tmp_path: Path) -> Any:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference"))
    b.predict("r", 250)
    b.label_request("r")
    b.monitor.flush()
    return b


@pytest.mark.parametrize("file", ["rows.npz", "reference.json"])
@pytest.mark.parametrize("damage", [*DAMAGE, Path.unlink])
def test_a_damaged_reference_makes_it_blind_until_it_is_put_again(
    watched: Any, tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    b = watched
    b.monitor.close()
    (kept,) = (b.home / "references").iterdir()
    damage(kept / file)
    b.monitor = b.open()
    # Told before anything comes.
    assert (
        "blind: the reference of version 1 is damaged"
        in b.monitor.status()["problems"]["reference"]
    )
    assert b.monitor.status()["blind"]
    health = b.monitor.health()
    assert (health.ok, health.can_write, health.can_process) == (False, True, True)
    assert 'noria_monitor_blind{model="flights"} 1.0' in Exposition(b.monitor).text().decode()
    b.predict("while", 300)
    status = b.status()
    assert status["windows"]["features"]["index"] == 1
    assert status["counts"]["dropped"]["blind"] == 300
    # Labels mean what they meant, and nothing else is held up.
    b.label_request("while")
    assert b.status()["counts"]["joined"] == 550
    b.champion("1", tmp_path / "reference")
    status = b.status()
    assert "reference" not in status["problems"]
    assert b.monitor.health().ok
    assert status["counts"]["dropped"]["damaged-window"] == 50
    assert (b.home / "references" / f"{kept.name}.damaged").is_dir()
    assert f"references/{kept.name}.damaged" in status["problems"]["damaged files"]
    b.predict("after", 200, shift=3.0)
    assert [s["source"] for s in b.signals()] == ["features"]


def test_a_damaged_reference_is_sent_again_by_the_loop(watched: Any, tmp_path: Path) -> None:
    from monitoring.link import MonitorLink
    from noria.loop.state import State

    b = watched
    sent: list[str] = []

    def put(model: str, version: str, champion: bool) -> None:
        sent.append(version)
        b.champion(version, tmp_path / "reference", champion=champion)

    state = State("flights", champion="1")
    link = MonitorLink(lambda _: b.status(), put)
    assert [link.told("flights", state) for _ in range(5)] == [""] * 5
    assert sent == ["1"]
    b.monitor.close()
    (kept,) = (b.home / "references").iterdir()
    garbage(kept / "rows.npz")
    b.monitor = b.open()
    assert "blind" in link.told("flights", state)
    for _ in range(4):
        link.told("flights", state)
    assert sent == ["1", "1"]
    assert link.told("flights", state) == ""
    # One that lost all it had is told as well.
    b.monitor.close()
    for file in b.home.glob("*.db*"):
        file.unlink()
    b.monitor = b.open()
    for _ in range(4):
        link.told("flights", state)
    assert b.status()["champion"] == "1"


@pytest.mark.parametrize("damage", [truncate, empty, nonsense])
def test_a_damaged_state_is_set_aside_and_begun_anew(
    watched: Any, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    b = watched
    b.monitor.close()
    damage(b.home / "state.db")
    b.monitor = b.open()
    # What the log still has is worked through again.
    status = b.status()
    aside = b.home / "state.db.damaged"
    assert aside.exists()
    assert "state.db.damaged" in status["problems"]["damaged files"]
    assert (
        'noria_monitor_damaged_files{model="flights"} 1.0' in Exposition(b.monitor).text().decode()
    )
    b.champion("1", tmp_path / "reference")
    b.predict("after", 200)
    status = b.status()
    assert status["counts"]["rows"] >= 200
    assert status["counts"]["dropped"]["unreadable"] == 0
    assert b.monitor.health().ok


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_in_the_state_never_stop_it(watched: Any, seed: int) -> None:
    b = watched
    b.monitor.close()
    garbage(b.home / "state.db", seed=seed)
    b.monitor = b.open()
    b.predict("after", 3)
    b.monitor.flush()
    assert b.monitor.health().can_process
    assert b.monitor.health().can_write


def test_a_state_whose_log_was_pruned_begins_where_the_log_does(watched: Any) -> None:
    b = watched
    b.monitor._processor.prune()
    b.monitor.close()
    empty(b.home / "state.db")
    b.monitor = b.open()
    b.predict("after", 3)
    assert b.status()["counts"]["dropped"]["unreadable"] == 0


def test_tables_that_are_others_and_a_core_that_changed_are_damage(watched: Any) -> None:
    b = watched
    for change in (
        "ALTER TABLE pairs RENAME COLUMN version TO versiom",
        "UPDATE core SET body = substr(body, 1, length(body) - 1)",
        "UPDATE core SET sum = sum + 1",
        "UPDATE pairs SET prediction = x'00', labelled = x'00'",
    ):
        b.monitor.close()
        with sqlite3.connect(b.home / "state.db") as db:
            db.execute(change)
        db.close()
        b.monitor = b.open()
        b.predict(change, 3)
        assert b.status()["counts"]["rows"] >= 3, change
        assert b.monitor.health().can_process


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["log.db", "log.end"])
def test_a_damaged_log_never_stops_the_start(
    watched: Any, file: str, damage: Callable[[Path], None]
) -> None:
    b = watched
    b.monitor.close()
    damage(b.home / file)
    b.monitor = b.open()
    b.predict("after", 3)
    assert b.status()["counts"]["rows"] >= 253


def test_a_replica_whose_state_is_gone_begins_a_new_life(tmp_path: Path, model_file: Make) -> None:
    from monitoring.config import MonitorConfig
    from noria.spec import load_model

    config = MonitorConfig.from_model(load_model(model_file()))
    lives = []
    for damage in (None, None, empty):
        if damage is not None:
            damage(tmp_path / "state.db")
        monitor = Monitor(config, Setting(tmp_path, role=Role(Replica(1, 1))), lambda: 1e9)
        replica = monitor.role.replica
        monitor.close()
        assert replica is not None
        lives.append(replica.life)
    assert lives[0] == lives[1] != lives[2]


def test_what_a_detector_had_fitted_is_fitted_again_when_it_is_damaged(tmp_path: Path) -> None:
    import numpy as np

    from monitoring.detectors import DetectorConfig, build_detector
    from monitoring.detectors.storage import read_table
    from monitoring.table import Table
    from noria.errors import MonitoringError

    rows = Table.from_matrix(np.random.default_rng(0).normal(size=(50, 2)))
    for damage in DAMAGE:
        for file in ("detector.json", "reference.npz"):
            folder = tmp_path / f"{damage.__name__}-{file}"
            build_detector(DetectorConfig("d", "ks"), rows).save(folder)
            damage(folder / file)
            with pytest.raises(MonitoringError, match="can't be read"):
                read_table(folder)


def test_the_files_are_the_owners_alone(watched: Any) -> None:
    paths = [watched.home, *watched.home.rglob("*")]
    assert len(paths) > 6
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))
