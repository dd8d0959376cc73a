"""A monitor that starts in a few milliseconds, to be killed many times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_FORKER = '''
"""Has imported the monitor once; every line is a monitor of its own: its arguments, its log."""
import json, os, sys
import scipy.stats
import monitoring.watch
from monitoring.__main__ import main

for line in sys.stdin:
    arguments, log = json.loads(line)
    child = os.fork()
    if child == 0:
        sys.stdin.close()
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
        try:
            code = main(arguments)
        finally:
            sys.stderr.flush()
            os._exit(locals().get("code", 70))
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
'''


class Forkers:
    """The processes that fork monitors: of each as many at once as one test needs."""

    def __init__(self) -> None:
        self._idle: list[subprocess.Popen[str]] = []

    def take(self) -> subprocess.Popen[str]:
        if self._idle:
            return self._idle.pop()
        return subprocess.Popen(
            [sys.executable, "-c", _FORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def give_back(self, forker: subprocess.Popen[str]) -> None:
        self._idle.append(forker)

    def close(self) -> None:
        for forker in self._idle:
            assert forker.stdin is not None
            with forker:
                forker.stdin.close()
                forker.wait(30)


class Lives:
    """``python -m monitoring`` again and again, in the same folder, each a process of its own.

    A process that has imported everything forks, which leaves out only the imports.
    """

    def __init__(self, forkers: Forkers, model: Path, home: Path, log: Path) -> None:
        self.model, self.home = model, home
        self._ready = home.with_suffix(".ready")
        self.log = log
        self._forkers, self._forker = forkers, forkers.take()
        self.pid = 0
        self.url = ""

    def spawn(self, *arguments: str) -> int:
        """Start a life, and don't wait for it to be ready."""
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._ready.unlink(missing_ok=True)
        asked = ["--model", str(self.model), "--state", str(self.home)]
        asked += ["--ready-file", str(self._ready), *arguments]
        self._forker.stdin.write(json.dumps([asked, str(self.log)]) + "\n")
        self._forker.stdin.flush()
        self.pid = int(self._forker.stdout.readline())
        return self.pid

    def wait_ready(self, seconds: float = 120.0) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (found := self.ready()) is not None:
                return found
            # A process that has ended was waited for, and is nobody any more.
            assert Path(f"/proc/{self.pid}").exists(), self.log.read_text()
            time.sleep(0.002)
        raise AssertionError("the monitor is not ready")

    def ready(self) -> str | None:
        """The address of the present life, once it answers."""
        try:
            said = json.loads(self._ready.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if said["pid"] != self.pid:
            return None
        self.url = said["url"]
        return self.url

    def start(self, *arguments: str) -> str:
        self.spawn(*arguments)
        return self.wait_ready()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the present life; return its exit code, which is negative for a signal."""
        assert self._forker.stdout is not None
        os.kill(self.pid, number)
        return self.ended()

    def ended(self) -> int:
        assert self._forker.stdout is not None
        code = int(self._forker.stdout.readline())
        self.pid = 0
        return code

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def close(self) -> None:
        if self.pid:
            self.end(signal.SIGKILL)
        self._forkers.give_back(self._forker)


@pytest.fixture(scope="session")
def forkers() -> Iterator[Forkers]:
    found = Forkers()
    yield found
    found.close()


@pytest.fixture
def lives(
    forkers: Forkers, tmp_path: Path, model_file: Callable[..., Path]
) -> Iterator[Callable[..., Lives]]:
    made: list[Lives] = []

    def make(home: Path | None = None, model: Path | None = None, **monitoring: Any) -> Lives:
        found = Lives(
            forkers,
            model_file(**monitoring) if model is None else model,
            tmp_path / f"home{len(made)}" if home is None else home,
            tmp_path / f"monitor{len(made)}.log",
        )
        made.append(found)
        return found

    yield make
    for one in made:
        one.close()
