"""What the server remembers: experiments, runs and pipelines, in one file that survives it."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import workflow

ENDS = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
TERMINATION_SECONDS = 0.1


class State:
    """Thread-safe; written to disk before anybody hears of a change."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "state.json"
        self.lock = threading.RLock()
        self.all: dict[str, Any] = {"experiments": [], "runs": [], "pipelines": []}
        if self._file.exists():
            self.all = json.loads(self._file.read_text())

    def save(self) -> None:
        handle, draft = tempfile.mkstemp(dir=self._file.parent)
        with os.fdopen(handle, "w") as stream:
            json.dump(self.all, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).replace(self._file)

    def add(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.all[kind].append(item)
            self.save()
            return item

    def run(self, run_id: str) -> dict[str, Any] | None:
        with self.lock:
            self.settle()
            return next((r for r in self.all["runs"] if r["run_id"] == run_id), None)

    def runs_named(self, name: str) -> list[dict[str, Any]]:
        with self.lock:
            return [r for r in self.all["runs"] if r["display_name"] == name]

    def move(self, run: dict[str, Any], state: str, *, noted: bool = True) -> None:
        """Move a run on. ``noted``: also in its history, which the server sometimes forgets."""
        with self.lock:
            run["state"] = state
            if noted:
                entry: dict[str, Any] = {"update_time": moment(), "state": state}
                run.setdefault("state_history", []).append(entry)
            if state in ENDS:
                run["finished_at"] = moment()
            self.save()

    def settle(self) -> None:
        """End what is being terminated: FAILED, because that is how its workflow ends."""
        with self.lock:
            for run in self.all["runs"]:
                if run["state"] == "CANCELING" and run["_canceling"] < time.time():
                    self.move(run, "FAILED")

    def task(self, run: dict[str, Any], name: str, state: str, message: str = "") -> None:
        """Say where a task is. ``message`` is its pod's, as Argo has it."""
        with self.lock:
            workflow.task(run, name, state, moment(), message)
            self.save()

    def fail(self, run: dict[str, Any], name: str, log: str) -> None:
        """Let a task fail, and with it the run; ``log`` is what its pod printed."""
        with self.lock:
            pod = workflow.task(run, name, "FAILED", moment())
            run["_logs"][pod] = log
            self.move(run, "FAILED")


def moment() -> str:
    """Now, to the second, as the server keeps it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def public(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what only this server knows, a run with its task details."""
    found = {name: value for name, value in item.items() if not name.startswith("_")}
    if "_workflow" in item:
        found["run_details"] = {"task_details": workflow.details(item)}
    return found
