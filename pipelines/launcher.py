"""Starts a step in a nursery (see ``warm``): ``launcher.py FOLDER PYTHON ARGUMENTS...``.

Runs isolated and without site-packages, so it starts in milliseconds; it
imports the standard library only.
"""

from __future__ import annotations

import json
import os
import socket
import sys

_EXECUTOR = ["-m", "kfp.dsl.executor_main"]
_FUNCTION = "--function_to_execute"


def main(nurseries: str, python: str, arguments: list[str]) -> int:
    """Run a step and return its exit code; anything but a step runs in the real interpreter."""
    if arguments[:2] != _EXECUTOR:
        os.execv(python, [python, *arguments])  # noqa: S606 - it becomes the interpreter
    folder = os.getcwd()  # noqa: PTH109 - pathlib costs a third of the start
    body = json.dumps(
        {"arguments": arguments[2:], "cwd": folder, "environment": dict(os.environ)}
    ).encode()
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(_address(nurseries, arguments))
    except OSError:
        os.execv(python, [python, *arguments])  # noqa: S606
    with connection:
        head = f"{len(body)}\n".encode()
        # The streams travel with the first bytes, however many of them fit.
        sent = socket.send_fds(connection, [head + body], [0, 1, 2])
        connection.sendall((head + body)[sent:])
        code = connection.recv(1)
    # Nothing: the step was killed before it could say.
    return code[0] if code else 137


def _address(nurseries: str, arguments: list[str]) -> str:
    """Return the socket of the nursery that knows the step, else of the first."""
    step = arguments[arguments.index(_FUNCTION) + 1] if _FUNCTION in arguments[:-1] else ""
    own = f"{nurseries}/{step}"
    return own if step and os.path.exists(own) else f"{nurseries}/-others"  # noqa: PTH110


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
