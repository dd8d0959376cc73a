"""Real server processes of small hand-made packages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from noria.tasks.package import package_digest
from noria.tasks.tabular.hand_made import package_linear

NAMES = ("a", "b", "c", "d")
WEIGHTS = (0.5, -0.25, 1.0, 0.1)


@dataclass(slots=True)
class RunningServer:
    """A server process. ``grpc`` is its port, None without gRPC."""

    process: subprocess.Popen[bytes]
    url: str
    grpc: int | None
    log: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry the labels."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith((f"{name}{{", f"{name} ")) and all(w in line for w in wanted)
        )

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


StartServer = Callable[..., RunningServer]


def make_package(folder: Path, *, weights: tuple[float, ...] = WEIGHTS) -> Path:
    package_linear(folder, "m", NAMES, weights, 0.1)
    return folder


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logistic model of four numbers."""
    return make_package(tmp_path_factory.mktemp("package") / "v3")


def launch(
    folder: Path, package: Path, *options: str, environment: dict[str, str] | None = None
) -> RunningServer:
    """Start a server and wait until it is ready."""
    ready_file = folder / f"ready-{time.monotonic_ns()}.json"
    log = ready_file.with_suffix(".log")
    arguments = [
        sys.executable, "-m", "serving", "--package", str(package), "--name", "m",
        "--version", "3", "--ready-file", str(ready_file), "--drain-delay", "0.05", *options,
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
    deadline = time.monotonic() + 120
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not get ready: {log.read_text()}")
        time.sleep(0.01)
    said = json.loads(ready_file.read_bytes())
    assert said["pid"] == process.pid
    return RunningServer(process, f"http://127.0.0.1:{said['rest']}", said["grpc"], log)


@pytest.fixture
def start_server(tmp_path: Path, package: Path) -> Iterator[StartServer]:
    """Start servers of the package, or of another one; all are stopped afterwards."""
    started: list[RunningServer] = []

    def start(*options: str, of: Path = package) -> RunningServer:
        started.append(launch(tmp_path, of, *options))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[RunningServer]:
    """One server, with gRPC, for the tests that only ask it things."""
    folder = tmp_path_factory.mktemp("server")
    running = launch(
        folder, package, "--grpc-port", "0", "--digest", package_digest(package),
        "--max-request-bytes", "1000000",
    )  # fmt: skip
    yield running
    assert running.stop() == 0
