"""Starts the server as a process of its own, and speaks to its hooks."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

SERVER = Path(__file__).with_name("server.py")


class KfpServer:
    """A running server. ``kill`` and ``start`` again: what it remembers is in its folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._port = 0
        self.url = ""
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had before."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, str(SERVER), "--state", str(self._folder)),
                *("--port", str(self._port), *self._options),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Of kfp it needs the messages, not the SDK, whose import takes two seconds.
            env={**os.environ, "_KFP_RUNTIME": "true"},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the Kubeflow Pipelines server did not start"
        self.url = json.loads(line)["url"]
        self._port = int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        """Kill it, as a node that dies does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def runs(self, name: str = "") -> list[dict[str, Any]]:
        """Return the runs as the server has them, of one display name or all."""
        found: list[dict[str, Any]] = self.hook("runs")
        return [run for run in found if not name or run["display_name"] == name]

    def requests(self) -> list[dict[str, Any]]:
        """Return method, path and authorization of every request so far."""
        found: list[dict[str, Any]] = self.hook("requests")
        return found

    def fault(self, **fault: Any) -> None:
        """Order a fault (see ``hooks``)."""
        self.hook("faults", **fault)

    def release(self) -> None:
        """Let what is held by a fault go on."""
        self.hook("release")

    def act(self, run: str, what: str, /, **given: Any) -> dict[str, Any]:
        """Say what becomes of a run (see ``hooks``)."""
        found: dict[str, Any] = self.hook(f"runs/{quote(run, safe='')}/{what}", **given)
        return found

    def succeed(self, run: str, /, **given: Any) -> str:
        """Register a version in this process, let the run succeed, return the version."""
        place = SERVER.with_name("registering.py")
        description = importlib.util.spec_from_file_location("kfp_registering", place)
        assert description is not None
        assert description.loader is not None
        module = importlib.util.module_from_spec(description)
        description.loader.exec_module(module)
        parameters = self.runs(run)[0]["runtime_config"]["parameters"]
        version: str = module.register(parameters, given)
        self.act(run, "state", state="SUCCEEDED")
        return version

    def hook(self, path: str, /, **given: Any) -> Any:
        """Call any hook: POST when something is given or done, else GET."""
        reading = path in ("runs", "requests")
        request = urllib.request.Request(  # noqa: S310 - the server that we started
            f"{self.url}/_test/{path}", data=None if reading else json.dumps(given).encode()
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
