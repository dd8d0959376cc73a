"""What a test may say to the server, below ``/_test``. Bodies and answers are JSON.

    POST /_test/runs/NAME/state     {"state": "RUNNING"}
    POST /_test/runs/NAME/task      {"task": "train", "state": "PENDING", "message": "..."}: the
                                     message is Argo's, of the task's pod
    POST /_test/runs/NAME/driver    {"task": "root" or a task, "phase": "Pending", "message"}
    POST /_test/runs/NAME/fail      {"task": "train", "message": "..."}: the message is printed in
                                     its pod, as a step of ours does; or "log": all that it prints
    POST /_test/runs/NAME/workflow  {"hidden": "absent"|"compressed"|"offloaded", "message": "..."}
    POST /_test/runs/NAME/forgetful that it is terminated gets into no history
    POST /_test/runs/NAME/register  {"tracking_uri": ..., "artifacts": ..., "package": FOLDER,
                                     "reference": FOLDER, "evaluation": FILE, "rows": 100,
                                     "metrics": ...}: makes a version in a real MLflow, then
                                     the run has succeeded; answers {"version": ...}
    POST /_test/runs/NAME/copy      {"count": 1, ...}: further runs of that name, as another
                                     client would make; fields of a run replace those of the first
    POST /_test/faults              {"method": "POST", "path": "/runs", "times": 1, and one of
                                     "status": 503, "cut": "before"|"after", "html": true,
                                     "held": true (it waits for the next hook)}
    POST /_test/release             what is held goes on
    POST /_test/token               {"token": "..."}: any other is refused; "" takes all
    GET  /_test/runs, /_test/requests

NAME is the run's display name; of several the oldest.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import state as states
import workflow
from workflow import failure_log

_EXECUTE_POLL_SECONDS = 0.1


class Faults:
    """Faults that were ordered and not yet served."""

    def __init__(self) -> None:
        self._ordered: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.released = threading.Event()

    def order(self, fault: dict[str, Any]) -> None:
        with self._lock:
            self._ordered.append(fault)

    def take(self, method: str, path: str) -> dict[str, Any]:
        with self._lock:
            for fault in self._ordered:
                if fault.get("method", method) == method and path.endswith(fault.get("path", "")):
                    fault["times"] = fault.get("times", 1) - 1
                    if fault["times"] <= 0:
                        self._ordered.remove(fault)
                    return fault
        return {}


def handle(server: Any, method: str, path: str, body: bytes) -> tuple[int, Any]:
    """Return status and answer of a hook."""
    given: dict[str, Any] = json.loads(body) if body else {}
    words = [unquote(word) for word in path.strip("/").split("/")[1:]]
    try:
        match method, words:
            case "GET", ["runs"]:
                server.state.settle()
                return 200, server.state.all["runs"]
            case "GET", ["requests"]:
                return 200, server.requests
            case "POST", ["faults"]:
                server.faults.order(given)
            case "POST", ["release"]:
                server.faults.released.set()
            case "POST", ["token"]:
                server.token = given["token"]
            case "POST", ["runs", name, what]:
                found = server.state.runs_named(name)
                if not found:
                    return 404, {"message": f"no run is called {name}"}
                oldest = min(found, key=lambda run: (run["created_at"], run["run_id"]))
                return 200, _do(server.state, oldest, what, given)
            case _:
                return 404, {"message": f"no hook {method} {path}"}
    except Exception as error:  # noqa: BLE001 - the test must see it
        return 500, {"message": f"{type(error).__name__}: {error}"}
    return 200, {}


def _do(state: states.State, run: dict[str, Any], what: str, given: dict[str, Any]) -> Any:
    match what:
        case "state":
            state.move(run, given["state"])
        case "task":
            state.task(run, given["task"], given["state"], given.get("message", ""))
        case "fail":
            state.fail(run, given["task"], given.get("log") or failure_log(given["message"]))
        case "driver":
            pod = workflow.driver(
                run, given["task"], given["phase"], given.get("message", ""), states.moment()
            )
            run["_logs"] |= {pod: given["log"]} if "log" in given else {}
            state.save()
        case "workflow":
            run["_workflow"] |= given
            state.save()
        case "forgetful":
            run["_forgetful"] = True
        case "register":
            # Only here: MLflow takes seconds to import.
            from registering import register

            version = register(run["runtime_config"]["parameters"], given)
            state.move(run, "SUCCEEDED")
            return {"version": version}
        case "copy":
            for _ in range(given.pop("count", 1)):
                other = copy.deepcopy(run) | {"run_id": str(uuid.uuid4()), **given}
                state.all["runs"].append(other)
            state.save()
        case _:
            raise ValueError(f"a run can't {what}")
    return {}


class Executor:
    """Runs each run's steps for real, with the local runner, below the server's state."""

    def __init__(self, state: states.State, project: Path) -> None:
        self._state = state
        self._project = project.absolute()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped = threading.Event()

    def begin(self, run: dict[str, Any] | None) -> None:
        threading.Thread(target=self._follow, args=(run,), daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        for process in list(self._processes.values()):
            process.terminate()

    def _follow(self, run: dict[str, Any]) -> None:
        from components.resource import resource_json
        from noria.loop.values import RunRequest, to_json

        parameters = run["runtime_config"]["parameters"]
        folder = self._state.all.setdefault("folder", str(self._project / ".kfp"))
        home = Path(folder) / run["run_id"]
        home.mkdir(parents=True)
        # The local runner takes the project's folder from the resource's: it lies beside it.
        model = self._project / f".kfp-{run['run_id']}.yaml"
        model.write_text(resource_json(parameters["model"]))
        request = RunRequest(
            parameters["run_id"],
            json.loads(model.read_text())["metadata"]["name"],
            datetime.fromisoformat(parameters["as_of"]),
            parameters["reason"],
            parameters["champion"] or None,
        )
        (home / "ordered.json").write_bytes(to_json(request))
        self._state.move(run, "RUNNING")
        command = [sys.executable, "-m", "pipelines.local", "--model", str(model)]
        command += ["--request", str(home / "ordered.json"), "--run-dir", str(home / "run")]
        command += ["--tracking-uri", parameters["tracking_uri"]]
        command += ["--artifacts", parameters["artifacts"]]
        with (home / "log.txt").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._processes[run["run_id"]] = process
        while process.poll() is None and not self._stopped.is_set():
            self._progress(run, home)
            if run["state"] == "CANCELING":
                process.terminate()
            time.sleep(_EXECUTE_POLL_SECONDS)
        model.unlink(missing_ok=True)
        if self._stopped.is_set() or run["state"] in ("CANCELING", *states.ENDS):
            return
        if process.returncode == 0:
            self._state.move(run, "SUCCEEDED")
            return
        said = json.loads((home / "run" / "status.json").read_text()).get("detail", "")
        step = said.partition(": ")[0]
        # The pod's log: what the step's process printed.
        self._state.fail(run, step, (home / "run" / "log.txt").read_text())

    def _progress(self, run: dict[str, Any], home: Path) -> None:
        path = home / "run" / "progress.json"
        step = json.loads(path.read_text()).get("step", "") if path.exists() else ""
        if step and step != run.get("_step"):
            if run.get("_step"):
                self._state.task(run, run["_step"], "SUCCEEDED")
            run["_step"] = step
            self._state.task(run, step, "RUNNING")
