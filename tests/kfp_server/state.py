"""What the server remembers: experiments, runs and pipelines, in one file that survives it."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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

    def move(self, run: dict[str, Any], state: str, *, message: str = "") -> None:
        with self.lock:
            run["state"] = state
            entry: dict[str, Any] = {"update_time": moment(), "state": state}
            if message:
                run["error"] = entry["error"] = {"code": 13, "message": message}
            run.setdefault("state_history", []).append(entry)
            if state in ENDS:
                run["finished_at"] = moment()
            self.save()

    def settle(self) -> None:
        """End what is being terminated: FAILED, because that is how its workflow ends."""
        with self.lock:
            for run in self.all["runs"]:
                if run["state"] == "CANCELING" and run["_canceling"] < time.time():
                    self.move(run, "FAILED", message="Stopped with strategy 'Terminate'")

    def task(self, run: dict[str, Any], name: str, state: str, message: str = "") -> None:
        """Say where a task is, as the server does: it, its driver and its executor."""
        with self.lock:
            details = run.setdefault("run_details", {}).setdefault("task_details", [])
            run["run_details"]["task_details"] = details = [
                item for item in details if item["display_name"] not in (name, f"{name}-driver")
            ]
            for display, said in ((f"{name}-driver", "SUCCEEDED"), (name, state)):
                item: dict[str, Any] = {
                    "run_id": run["run_id"],
                    "task_id": str(uuid.uuid4()),
                    "display_name": display,
                    "create_time": moment(),
                    "start_time": moment(),
                    "state": said,
                    "state_history": [{"update_time": moment(), "state": said}],
                }
                if message and display == name:
                    item["error"] = {"code": 13, "message": message}
                details.append(item)
            self.save()


def moment() -> str:
    """Now, to the second, as the server keeps it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def public(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what only this server knows."""
    return {name: value for name, value in item.items() if not name.startswith("_")}
