"""Own small files: written whole and private, read with doubt."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from noria.errors import StoreError
from noria.files import (
    damaged,
    for_appending,
    locked,
    read_file,
    read_json,
    sqlite_path,
    sqlite_uri,
    tighten,
    write_json,
)
from noria.process import ProcessId, command_line, find, last_words, start_time


class Note(msgspec.Struct, frozen=True):
    name: str
    count: int = 0


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "x").write_text("x")


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(b'{"name": "a'),
    "random": lambda path: path.write_bytes(bytes(range(256))),
    "a list": lambda path: path.write_bytes(b"[]"),
    "a text": lambda path: path.write_bytes(b'"x"'),
    "null": lambda path: path.write_bytes(b"null"),
    "other types": lambda path: path.write_bytes(b'{"name": 7}'),
    "a huge number": lambda path: path.write_bytes(b'{"name": "a", "count": 1e999}'),
    "deep": lambda path: path.write_bytes(b"[" * 1_000_000),
    "a folder": _folder,
    "a loop": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
    "a pipe": os.mkfifo,
    "without end": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_set_aside_counts_as_absent_and_can_be_made_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "deep" / "note.json"
    path.parent.mkdir()
    DAMAGES[damage](path)
    with caplog.at_level(logging.WARNING):
        assert read_json(path, Note) is None
    assert "note.json" in caplog.text
    assert [p.name for p in path.parent.iterdir()] == ["note.json.damaged"]
    assert damaged(tmp_path) == (path.with_name("note.json.damaged"),)
    write_json(path, Note("b"))
    assert read_json(path, Note) == Note("b")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_writer_replaces_whatever_lies_in_a_files_place(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "note.json"
    DAMAGES[damage](path)
    write_json(path, Note("b"))
    assert read_json(path, Note) == Note("b")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_log_and_a_lock_are_opened_whatever_lies_in_their_place(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "log"
    DAMAGES[damage](path)
    with for_appending(path).open("a") as log:
        log.write("said\n")
    with locked(path) as held, locked(path, wait=False) as other:
        assert held is not None
        assert other is None


def test_a_second_damage_of_a_name_replaces_the_first(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    for damage in (_folder, DAMAGES["empty"], _folder, DAMAGES["a list"]):
        damage(path)
        assert read_json(path, Note) is None
    assert [p.name for p in tmp_path.iterdir()] == ["note.json.damaged"]
    assert (tmp_path / "note.json.damaged").read_bytes() == b"[]"


def test_what_is_not_there_is_no_damage(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none" / "note.json", Note) is None
    assert read_file(tmp_path / "none") is None
    assert list(tmp_path.iterdir()) == []


def test_files_and_folders_belong_to_their_owner_alone(tmp_path: Path) -> None:
    write_json(tmp_path / "home" / "note.json", Note("a"))
    for_appending(tmp_path / "home" / "log")
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "home").iterdir()}
    assert modes == {"note.json": 0o600, "log": 0o600}
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_what_an_earlier_release_left_open_is_tightened(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    home = tmp_path / "home"
    (home / "folder").mkdir(parents=True)
    (home / "folder" / "store.db").write_text("x")
    (home / "folder" / "tool").write_text("x")
    (home / "link").symlink_to(outside)
    home.chmod(0o755)
    (home / "folder" / "store.db").chmod(0o644)
    (home / "folder" / "tool").chmod(0o755)
    tighten(home)
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "folder" / "store.db").stat().st_mode & 0o777 == 0o600
    assert (home / "folder" / "tool").stat().st_mode & 0o777 == 0o700
    assert outside.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_named_and_the_old_content_stands(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_json(path, Note("a"))
    # The limit of a file's size stands for the disk's end: the writer meets an OSError.
    script = (
        "import resource, signal, sys, pathlib\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "from noria.files import write_json\n"
        "write_json(pathlib.Path(sys.argv[1]), 'x' * 100)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert f"StoreError: {path} can't be written" in done.stderr
    assert read_json(path, Note) == Note("a")
    assert [p.name for p in tmp_path.iterdir()] == ["note.json"]


def test_a_file_that_the_system_keeps_back_is_said_and_left(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_json(path, Note("a"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("the superuser reads every file")
    with pytest.raises(StoreError, match=r"note\.json can't be read: Permission denied; mend"):
        read_json(path, Note)


@pytest.mark.parametrize(
    "name", ["plain", "que?ry", "per%20cent", "ha#sh", "quo'te\"s", "new\nline", "ünïcode 한글"]
)
def test_any_path_of_a_database_is_an_address_and_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "mlflow.db"
    assert sqlite_path(sqlite_uri(path)) == path
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="the registry's extra is not installed")
    assert sqlalchemy.make_url(sqlite_uri(path)).database == str(path)


def test_a_process_is_found_by_what_it_was_started_with(tmp_path: Path) -> None:
    mark = str(tmp_path / "only mine")
    assert find(mark) is None
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", mark, "b"])
    try:
        deadline = time.monotonic() + 120
        while (found := find(mark, "b")) is None:  # it has to become what it was started as
            assert time.monotonic() < deadline
        assert found == ProcessId(sleeper.pid, start_time(sleeper.pid) or "")
        assert command_line(sleeper.pid)[-2:] == [mark, "b"]
        assert find(mark, "c") is None
    finally:
        sleeper.kill()
        sleeper.wait()
    assert find(mark) is None


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", ""),
        ("2026-01-01 10:00:00,000 ERROR serving: no such package\n", "no such package"),
        ("Traceback (most recent call last):\n  File\nValueError: odd\n", "ValueError: odd"),
        (
            (
                "2026-01-01 10:00:00,000 ERROR serving: the digest differs\n"
                "2026-01-01 10:00:01,000 INFO serving: listening\n"
            ),
            "the digest differs",
        ),
        ("x" * 5000, "x" * 400),
    ],
)
def test_the_last_words_of_a_log_are_its_last_error(tmp_path: Path, log: str, said: str) -> None:
    path = tmp_path / "log"
    path.write_text(log)
    assert last_words(path) == said
