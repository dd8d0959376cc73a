"""A process that has the heavy libraries imported already, and forks one child for each step.

A step of a local run is a fresh Python process, and importing pandas,
scikit-learn and a boosting library takes it seconds: more than all the work of
a small run. So the runner starts one *nursery* per run. It imports what steps
need, beside the first steps, and forks itself for each step that asks. A step
remains a process of its own, with its own memory, output and exit code; only
the imports are shared.

KFP's local runner starts steps with ``sys.executable``; for the length of a
run that is a launcher which hands arguments, environment, working directory
and standard streams to the nursery, and exits as the step does. Whatever the
nursery can't do, the launcher does with the real interpreter.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

EXECUTOR: Final = "kfp.dsl.executor_main"
_MESSAGE_BYTES: Final = 4 << 20
_MOST_FOLDER_BYTES: Final = 70
_LAUNCHER: Final = Path(__file__).with_name("launcher.py")


@contextlib.contextmanager
def warm_steps(modules: Sequence[str]) -> Iterator[None]:
    """Let the steps that KFP starts meanwhile fork from a process that has imported ``modules``."""
    with tempfile.TemporaryDirectory(prefix="noria-", dir=_short_folder()) as folder:
        address = Path(folder) / "nursery"
        python = Path(folder) / "python"
        words = (sys.executable, "-I", "-S", str(_LAUNCHER), str(address), sys.executable)
        python.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        python.chmod(0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen()
            nursery = subprocess.Popen(
                [sys.executable, "-m", "pipelines.warm", str(listener.fileno()), *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
                env={**os.environ, "_KFP_RUNTIME": "true"},
            )
        before, sys.executable = sys.executable, str(python)
        try:
            yield
        finally:
            sys.executable = before
            nursery.terminate()
            nursery.communicate()


def _short_folder() -> str | None:
    """Return a folder for the socket, None for the usual one.

    A socket's path may have about 100 bytes, and a run keeps its temporary files below its own.
    """
    usual = os.fsencode(tempfile.gettempdir())
    return None if len(usual) <= _MOST_FOLDER_BYTES else "/tmp"  # noqa: S108 - a fresh folder in it


def serve(listener: socket.socket, modules: Sequence[str]) -> None:
    """Import one module after another, and fork for whoever asks in between, until stdin ends."""
    # Children are reaped by the kernel: the launchers learn from the children themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    waiting = [EXECUTOR, *modules]
    while True:
        timeout = 0 if waiting else None
        ready, _, _ = select.select([listener, sys.stdin], [], [], timeout)
        if sys.stdin in ready:
            return
        if listener in ready:
            with listener.accept()[0] as connection:
                _fork(connection, listener)
        elif waiting:
            # A module that can't be imported fails in the step that needs it, with its own error.
            with contextlib.suppress(Exception):
                importlib.import_module(waiting.pop(0))


def _fork(connection: socket.socket, listener: socket.socket) -> None:
    if os.fork() != 0:
        return
    code = 1
    try:
        listener.close()
        code = _step(connection)
    finally:
        with contextlib.suppress(OSError):
            connection.sendall(bytes([code & 0xFF]))
        # The nursery's own exit is not ours to run.
        os._exit(code)


def _step(connection: socket.socket) -> int:
    """Become the step that the launcher asked for; return its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    raw, streams, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 3)
    size, _, body = raw.partition(b"\n")
    while len(body) < int(size):
        body += connection.recv(_MESSAGE_BYTES)
    asked = json.loads(body)
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    tempfile.tempdir = None  # the environment may name another
    sys.argv = [EXECUTOR, *asked["arguments"]]
    try:
        importlib.import_module(EXECUTOR).executor_main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does: print it, exit with 1
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
