"""Exit codes and messages: never a traceback, always what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Loop, Noria


NORIA = [sys.executable, "-m", "noria.cli"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NORIA, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_a_file_that_is_not_there_is_bad_input() -> None:
    ran = run("validate", "-f", "nowhere.yaml")
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == (
        "error: nowhere.yaml: there is no such file; give the path of a model.yaml\n"
    )


def test_wrong_usage_exits_with_2_and_suggests_what_was_meant() -> None:
    ran = run("statsu")
    assert ran.returncode == 2
    assert "Did you mean 'status'?" in ran.stderr
    assert run("train").returncode == 2


def test_a_bug_is_one_line_and_a_hint_and_70(
    noria: Noria, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(home: Path) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(loop, "down", broken)
    ran = noria("down")
    assert ran.exit_code == 70
    assert ran.stderr.splitlines() == [
        "error: this is a bug in Noria: ZeroDivisionError: 'division by zero'",
        "hint: run it again with NORIA_DEBUG=1 to see where",
    ]


def test_debugging_shows_the_traceback(
    noria: Noria, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(home: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "down", broken)
    monkeypatch.setenv("NORIA_DEBUG", "1")
    assert isinstance(noria("down").exception, ZeroDivisionError)
    assert "Traceback" in run("validate", "-f", "nowhere.yaml", NORIA_DEBUG="1").stderr


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    noria: Noria, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(home: Path) -> None:
        import a_library_nobody_has  # noqa: F401

    monkeypatch.setattr(loop, "down", broken)
    ran = noria("down")
    assert ran.exit_code == 2
    assert "a_library_nobody_has is not installed" in ran.stderr
    assert "pip install" in ran.stderr


def test_ctrl_c_exits_with_130() -> None:
    process = subprocess.Popen(
        [*NORIA, "predict", "flights"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would whatever it starts: the tests too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    status = Path(f"/proc/{process.pid}/wchan")
    if not status.exists():
        pytest.skip("needs /proc to know when the command waits for its input")
    # Interrupt it once it sleeps in the read of stdin, not while Python starts.
    while "pipe" not in status.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_closed_pipe_is_no_traceback() -> None:
    ran = subprocess.run(  # noqa: S602 - the shell's pipe is the point
        f"{sys.executable} -m noria.cli schema json | head -c 10",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ran.stderr


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.startswith("noria 0.")
