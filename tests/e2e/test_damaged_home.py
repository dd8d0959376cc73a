"""A home whose files are damaged, one after another and all together."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from noria import embedded
from noria.cli.app import application
from noria.embedded.home import Home
from noria.errors import NoriaError
from noria.places.machine import Machine
from noria.tasks.sources.files import load_module
from noria.view import ModelView, doing_text

NAME = "parcels"
ROW = ["service=express", "distance_km=10", "weight_kg=2", "ordered=2026-01-01T00:00:00Z"]
SETTLE_SECONDS = 120.0
# What others made: packages and references have digests of their own, a run's work is its own.
FOREIGN = {"artifacts", "references", "work"}
# Big files of the monitor have tests of their own beside it.
BINARY = {".db", ".db-wal", ".db-shm", ".log", ".txt", ".end"}


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


NOTHING_RIGHT = {
    "pid": 10**30, "started": 7, "port": -1, "path": "..\0", "model": [], "entry": "x", "turned": 5,
    "run_id": {}, "phase": "odd", "problems": 3, "pace": "odd", "url": None, "backends": [{}],
}  # fmt: skip
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "random": lambda path: path.write_bytes(random.Random(7).randbytes(50)),
    "a list": lambda path: path.write_bytes(b"[]"),
    "null": lambda path: path.write_bytes(b"null"),
    "other types": lambda path: path.write_text(json.dumps(NOTHING_RIGHT)),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "a folder": _folder,
    "a loop": _loop,
    "gone": lambda path: path.unlink(),
}


def own_files(home: Path) -> list[Path]:
    return sorted(
        path
        for path in home.rglob("*")
        if path.is_file()
        and not FOREIGN & set(path.relative_to(home).parts)
        and not path.name.endswith(".damaged")
    )


def small_files(home: Path) -> list[Path]:
    return [path for path in own_files(home) if path.suffix not in BINARY]


def seen(home: Path) -> ModelView:
    return next(model for model in Machine(home).overview() if model.name == NAME)


def until_well(home: Path) -> ModelView:
    """Wait until the model is served, its loop turns and nothing is said to be wrong."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        model = seen(home)
        running = any(line.startswith("loop") for line in model.processes)
        # A ledger begun anew does not follow the head that the registry keeps: that alert stays.
        if running and model.url and model.champion and not model.problem and not model.troubles:
            return model
        said = (model.stage, model.problem, model.troubles)
        assert time.monotonic() < deadline, (said, (home / "up.log").read_text()[-3000:])
        time.sleep(0.3)


def processes_of(home: Path) -> list[str]:
    """Return the command lines that name the home."""
    listed = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(home) in line]


def up(home: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "noria.cli", "up", "--detach", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model."""
    folder = tmp_path_factory.mktemp("damaged")
    templates = resources.files("noria.tasks.tabular").joinpath("templates")
    text = templates.joinpath("classification.yaml").read_text("utf-8")
    content = yaml.safe_load(Template(text).safe_substitute(name=NAME))
    content["spec"]["gates"] = {"minRows": 100, "bounds": [{"metric": "auc", "min": 0.5}]}
    content["spec"]["train"]["hyperparameters"] = {"n_estimators": 10}
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    (folder / "data.py").write_text(templates.joinpath("data.py").read_text("utf-8"))
    load_module(folder / "data.py").prepare(folder, fraction=0.2)
    return folder


@pytest.fixture(scope="module")
def running(project: Path) -> Iterator[Path]:
    """A home in which the model is served."""
    home = project / "running"
    up(home, "--file", str(project / "model.yaml"))
    yield home
    embedded.down(home)


@pytest.fixture
def kept(running: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The same home, stopped, and a copy of it. Asked for after every test of ``running``."""
    embedded.down(running)
    copy = tmp_path_factory.getbasetemp() / "kept"
    if not copy.exists():
        shutil.copytree(running, copy, symlinks=True)
    yield running, copy
    embedded.down(running)


@pytest.mark.slow
def test_everything_in_a_home_belongs_to_its_owner_alone(running: Path) -> None:
    until_well(running)
    # MLflow copies our code with its mode, into a folder that is closed.
    seen_by_others = [
        str(path)
        for path in running.rglob("*")
        if not path.is_symlink() and path.lstat().st_mode & 0o077 and path.name != "pyfunc_model.py"
    ]
    assert seen_by_others == []
    assert running.stat().st_mode & 0o077 == 0


@pytest.mark.slow
# One of each kind: `tests/embedded/test_own_files.py` has the reader read all of them, and more.
@pytest.mark.parametrize("damage", ["empty", "random", "other types", "a folder", "gone"])
def test_a_running_loop_mends_whatever_is_damaged_and_serves_on(running: Path, damage: str) -> None:
    until_well(running)
    for path in small_files(running):
        DAMAGES[damage](path)
    assert until_well(running).champion == "1"
    done = CliRunner().invoke(
        application(), ["predict", NAME, "--home", str(running), *_row()], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    for name in embedded.damaged(running):
        aside = running / name
        shutil.rmtree(aside) if aside.is_dir() and not aside.is_symlink() else aside.unlink()


def _row() -> list[str]:
    return [word for pair in (*ROW, "parcel_id=p1") for word in ("--row", pair)]


@pytest.mark.slow
def test_a_running_loop_begins_a_lost_state_anew_and_says_so(running: Path) -> None:
    until_well(running)
    for damage in ("random", "empty", "gone", "a folder"):
        store = Home(running).store
        for beside in ("store.db-wal", "store.db-shm"):
            (running / beside).unlink(missing_ok=True)
        DAMAGES[damage](store)
        deadline = time.monotonic() + SETTLE_SECONDS
        while not _told(running, "the loop begins anew"):
            assert time.monotonic() < deadline, (damage, (running / "up.log").read_text()[-3000:])
            time.sleep(0.3)
        assert until_well(running).champion == "1"
    assert any(name.startswith("store.db") for name in embedded.damaged(running))


def _told(home: Path, words: str) -> bool:
    try:
        first = next(iter(Machine(home).entries(NAME)), None)
    except NoriaError:
        return False
    return first is not None and words in str(first.notes)


@pytest.mark.slow
def test_what_does_not_answer_is_not_said_to_serve_until_it_is_mended(running: Path) -> None:
    until_well(running)
    (package,) = (running / "artifacts").rglob("package/model.*")
    whole = package.read_bytes()
    package.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    pids = dict(line.removesuffix(")").split(" (pid ") for line in seen(running).processes)
    os.kill(int(pids["server v1"]), 9)
    deadline = time.monotonic() + SETTLE_SECONDS
    while "can't start" not in (seen(running).problem or ""):
        assert time.monotonic() < deadline, seen(running)
        time.sleep(0.3)
    told = seen(running)
    assert (doing_text(told), told.url) == ("not serving", None)
    assert "does not answer" in (told.problem or "")
    assert "sha256" in (told.problem or "")
    while not any("can't be served" in str(e.notes) for e in Machine(running).entries(NAME)):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    package.write_bytes(whole)
    until_well(running)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_no_command_meets_a_bug_whatever_is_damaged_while_all_is_down(
    kept: tuple[Path, Path],
) -> None:
    home, copy = kept
    assert processes_of(home) == []
    asked = [
        ["status"],
        ["status", "--json"],
        ["why", NAME],
        ["ledger", "verify"],
        ["predict", NAME, *_row()],
        ["rollout", "pause", NAME],
        ["down"],
    ]
    odd = []
    for path in own_files(copy):
        name = path.relative_to(copy)
        for damage in ("empty", "random", "other types", "a folder", "gone"):
            shutil.rmtree(home)
            shutil.copytree(copy, home, symlinks=True)
            DAMAGES[damage](home / name)
            for command in asked:
                done = CliRunner().invoke(application(), [*command, "--home", str(home)])
                if done.exit_code not in (0, 1, 2) or "Traceback" in done.output:
                    odd.append((str(name), damage, command[0], done.exit_code, done.output[-300:]))
    assert odd == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["empty", "random", "a folder"])
def test_a_home_with_every_small_file_damaged_comes_up_again(
    kept: tuple[Path, Path], project: Path, damage: str
) -> None:
    home, copy = kept
    shutil.rmtree(home)
    shutil.copytree(copy, home, symlinks=True)
    for path in small_files(home):
        DAMAGES[damage](path)
    up(home, "--file", str(project / "model.yaml"))
    assert until_well(home).champion == "1"
    embedded.down(home)
    assert processes_of(home) == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["empty", "random", "gone", "a folder"])
def test_a_lost_registry_is_named_and_not_replaced_by_an_empty_one(
    kept: tuple[Path, Path], project: Path, damage: str
) -> None:
    home, copy = kept
    shutil.rmtree(home)
    shutil.copytree(copy, home, symlinks=True)
    DAMAGES[damage](home / "mlflow.db")
    for command in ("up", "train"):
        done = subprocess.run(
            [sys.executable, "-m", "noria.cli", command, "--file", str(project / "model.yaml"),
             "--home", str(home)],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "mlflow.db" in done.stderr
        assert "backup" in done.stderr
    assert processes_of(home) == []
    assert any("mlflow.db" in trouble for trouble in seen(home).troubles)
