"""The four servers as processes, each with a small model behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from noria.tasks.tabular.hand_made import package_linear

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
NAME: Final = "m"

DOCUMENT: Final[dict[str, Any]] = {
    "apiVersion": "noria.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": NAME},
    "spec": {
        "task": {"family": "tabular-classification"},
        "data": {
            "source": {"csv": {"paths": ["rows.csv"]}},
            "features": [
                {"name": "a", "type": "numeric"},
                {"name": "b", "type": "numeric"},
            ],
            "target": "late",
            "eventTime": "at",
            "entityKey": ["id"],
        },
    },
}


@dataclass
class Server:
    """A server process, its log, and where it listens. ``grpc`` is 0 without gRPC."""

    command: Sequence[str]
    folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    grpc: int = 0
    process: subprocess.Popen[bytes] | None = None
    read: int = field(default=0, init=False)

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, f"--ready-file={ready}"],
                stdout=log, stderr=log, cwd=self.folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.command[:4]} did not start: {self.log.read_text()}")
            time.sleep(0.02)
        said = json.loads(ready.read_bytes())
        self.port = int(said.get("rest") or said["http"])
        self.grpc = int(said.get("grpc") or 0)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def resident(self) -> float:
        """Resident memory in MiB; 0 when it is dead."""
        if self.process is None:
            return 0.0
        try:
            text = Path(f"/proc/{self.process.pid}/statm").read_text()
        except OSError:
            return 0.0
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def new_tracebacks(self) -> int:
        """Return how many tracebacks the log got since it was asked last."""
        with self.log.open("rb") as log:
            log.seek(self.read)
            text = log.read()
        self.read += len(text)
        return text.count(b"Traceback (most recent call last)")

    def stop(self) -> None:
        """End it."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def model_server(folder: Path) -> Server:
    """Return a model server with REST and gRPC."""
    package = folder / "package"
    if not package.exists():
        package_linear(package, NAME, ("a", "b"), (0.5, -0.25), 0.1)
    command = [
        sys.executable, "-m", "serving", f"--package={package}", f"--name={NAME}", "--version=1",
        "--grpc-port=0", "--max-request-bytes=1000000",
    ]  # fmt: skip
    return Server(command, folder)


def monitor(folder: Path) -> Server:
    """Return a monitor."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.yaml"
    model.write_text(yaml.safe_dump(DOCUMENT))
    command = [
        sys.executable, "-m", "monitoring", f"--model={model}", f"--state={folder / 'state'}",
    ]  # fmt: skip
    return Server(command, folder)


def webhook(folder: Path) -> Server:
    """Return a receiver of alerts."""
    command = [
        sys.executable, "-m", "noria.cli", "webhook", "--port=0", f"--home={folder / 'home'}",
    ]  # fmt: skip
    return Server(command, folder)


def page(folder: Path) -> Server:
    """Return the page of a home in which nothing runs."""
    command = [sys.executable, "-m", "noria.cli", "ui", "--port=0", f"--home={folder / 'home'}"]
    return Server(command, folder)
