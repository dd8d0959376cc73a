"""Processes that have the heavy libraries imported already, and fork one child for each step.

A step of a local run is a fresh Python process, and importing pandas,
scikit-learn and a boosting library takes it seconds: more than all the work of
a small run. So the runner starts *nurseries*. Each imports what its steps
need, beside the first steps, and forks itself for each step that asks. A step
remains a process of its own, with its own memory, output and exit code; only
the imports are shared. What the last step alone needs is imported at the same time, by a
nursery that the first forks as soon as it has what both need.

KFP's local runner starts steps with ``sys.executable``; for the length of a
run that is a launcher which hands arguments, environment, working directory
and standard streams to a nursery, and exits as the step does. Whatever the
nursery can't do, the launcher does with the real interpreter.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

EXECUTOR: Final = "kfp.dsl.executor_main"
OTHERS: Final = "-others"
"""Link, among the sockets of the nurseries, for a step that none knows by its name."""
_FUNCTION: Final = "--function_to_execute"
_MESSAGE_BYTES: Final = 4 << 20
_MOST_FOLDER_BYTES: Final = 70
_LAUNCHER: Final = Path(__file__).with_name("launcher.py")


Needs: TypeAlias = Mapping[str, Sequence[str]]
"""Modules by the name of the first step that needs them, in the order of the steps.

``module:name`` is a function of a module that is called once it is imported.
"""


@contextlib.contextmanager
def warm_steps(*nurseries: Needs) -> Iterator[None]:
    """Let the steps that KFP starts meanwhile fork from processes that have imported their needs.

    Args:
        nurseries: What each process imports; all share what the first step of the first needs. A
            step is forked by the one after the first that names it, any other by the first.
    """
    with tempfile.TemporaryDirectory(prefix="noria-", dir=_short_folder()) as name:
        folder = Path(name)
        python = folder / "python"
        words = (sys.executable, "-I", "-S", str(_LAUNCHER), name, sys.executable)
        python.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        python.chmod(0o700)
        with contextlib.ExitStack() as listening:
            fds = []
            for number, needs in enumerate(nurseries):
                listener = listening.enter_context(socket.socket(socket.AF_UNIX))
                listener.bind(str(folder / str(number)))
                listener.listen()
                fds.append(listener.fileno())
                # Whoever is in none by name is a child of the first.
                for step in needs if number else (OTHERS,):
                    (folder / step).symlink_to(str(number))
            running = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pipelines.warm"),
                    *(json.dumps(fds), json.dumps([{**needs} for needs in nurseries])),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=fds,
                env={**os.environ, "_KFP_RUNTIME": "true"},
            )
        before, sys.executable = sys.executable, str(python)
        try:
            yield
        except BaseException:
            running.terminate()
            raise
        finally:
            sys.executable = before
            running.communicate()


def _short_folder() -> str | None:
    """Return a folder for the socket, None for the usual one.

    A socket's path may have about 100 bytes, and a run keeps its temporary files below its own.
    """
    usual = os.fsencode(tempfile.gettempdir())
    return None if len(usual) <= _MOST_FOLDER_BYTES else "/tmp"  # noqa: S108 - a fresh folder in it


def serve(listeners: Sequence[socket.socket], nurseries: Sequence[Needs]) -> None:
    """Be the first of the nurseries, and fork the others, until stdin ends."""
    # A collection would look through all that was imported, again and again, and find nothing.
    gc.disable()
    (listener, *others), (needs, *theirs) = listeners, nurseries
    shared = (EXECUTOR, *next(iter(needs.values()), ()))
    for need in shared:
        _import(need)
    for other, own in zip(others, theirs, strict=True):
        gc.freeze()
        if os.fork() == 0:
            for one in listeners:
                if one is not other:
                    one.close()
            _serve(other, own, shared)
            return
        other.close()
    _serve(listener, needs, shared)


def _serve(listener: socket.socket, needs: Needs, imported: Collection[str]) -> None:
    """Import one module after another, and fork for whoever asks in between, until stdin ends."""
    waiting = [one for names in needs.values() for one in names if one not in imported]
    while True:
        timeout = 0 if waiting else None
        ready, _, _ = select.select([listener, sys.stdin], [], [], timeout)
        if sys.stdin in ready:
            break
        if listener in ready:
            with listener.accept()[0] as connection, contextlib.suppress(OSError, ValueError):
                asked, streams = _asked(connection)
                first = needs.get(_name(asked["arguments"]), ())
                while any(module in waiting for module in first):
                    _import(waiting.pop(0))
                _fork(connection, listener, asked, streams)
        elif waiting:
            _import(waiting.pop(0))
        _reap(os.WNOHANG)
    _reap(0)


def _import(need: str) -> None:
    module, _, function = need.partition(":")
    # What can't be imported fails in the step that needs it, with its own error.
    with contextlib.suppress(Exception):
        found = importlib.import_module(module)
        if function:
            attrgetter(function)(found)()


def _reap(options: int) -> None:
    """Take note of the steps that have ended, so that their CPU counts as ours."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _asked(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return what a launcher asks for, and the standard streams of the step."""
    raw, streams, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 3)
    size, _, body = raw.partition(b"\n")
    body += connection.recv(int(size) - len(body), socket.MSG_WAITALL)
    try:
        asked: dict[str, Any] = json.loads(body)
    except ValueError:  # the launcher has ended
        _close(streams)
        raise
    return asked, streams


def _name(arguments: Sequence[str]) -> str:
    """Return the name of the step that the executor's arguments are for."""
    return arguments[arguments.index(_FUNCTION) + 1] if _FUNCTION in arguments[:-1] else ""


def _fork(
    connection: socket.socket,
    listener: socket.socket,
    asked: Mapping[str, Any],
    streams: Sequence[int],
) -> None:
    # A collection in a child need not touch, and so copy, what it shares with us.
    gc.freeze()
    if os.fork() != 0:
        _close(streams)
        return
    code = 1
    try:
        listener.close()
        gc.enable()
        code = _step(asked, streams)
    finally:
        with contextlib.suppress(OSError):
            connection.sendall(bytes([code & 0xFF]))
        # The nursery's own exit is not ours to run.
        os._exit(code)


def _close(streams: Sequence[int]) -> None:
    for stream in streams:
        os.close(stream)


def _step(asked: Mapping[str, Any], streams: Sequence[int]) -> int:
    """Become the step that the launcher asked for; return its exit code."""
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
    serve([socket.socket(fileno=one) for one in json.loads(sys.argv[1])], json.loads(sys.argv[2]))
    # Taking all the modules down, one by one, would cost as much as half a step.
    os._exit(0)
