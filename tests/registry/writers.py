"""Moves aliases, each move in a process of its own: ``python -m tests.registry.writers FOLDER``.

A line of stdin is a JSON list: address of the registry, model, version, expected. Its process is
forked at once, so that many go on beside each other and none waits for MLflow's import; what
became of it is a line of stdout: its number and "pid PID", "won", "Conflict" or what went wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from pathlib import Path

from noria.errors import Conflict, NoriaError
from noria.registry import MlflowRegistry
from noria.registry.client import client


def move(number: int, folder: Path, line: str) -> None:
    uri, model, version, expected = json.loads(line)
    _say(number, f"pid {os.getpid()}")
    try:
        MlflowRegistry(uri, folder / str(number)).set_alias(
            model, "champion", version, expected=expected
        )
    except NoriaError as error:
        _say(number, type(error).__name__ if isinstance(error, Conflict) else str(error))
    else:
        _say(number, "won")


def _say(number: int, what: str) -> None:
    os.write(1, f"{number} {what}\n".encode())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    with contextlib.suppress(Exception):  # what the first request imports
        client("http://127.0.0.1:9").get_registered_model("none")
    del os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    for number, line in enumerate(sys.stdin):
        if os.fork() == 0:
            move(number, Path(sys.argv[1]), line)
            os._exit(0)
