"""``noria up --detach``: start the loop in a process of its own and wait until it answers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noria.cli.facade import ModelStatus, embedded
from noria.errors import NoriaError, Unavailable

_PAUSE: Final = 0.5
_TAIL_LINES: Final = 12


@dataclass(frozen=True, slots=True)
class Background:
    """A loop that goes on by itself: its process, and its models, each with a URL."""

    process: subprocess.Popen[bytes]
    models: Sequence[ModelStatus]


def start(home: Path, files: Sequence[Path], names: Sequence[str], timeout: float) -> Background:
    """Start ``noria up`` in the background; return once each model has a URL.

    Args:
        home: Where the state and ``up.log`` are.
        files: The models' files; none means the models known in ``home``.
        names: Names of the models in ``files``.
        timeout: Seconds to wait. The process goes on when they are over.

    Raises:
        NoriaError: It stopped by itself; the message ends with the log's last lines.
        Unavailable: It is not ready in time.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / "up.log"
    # Absolute paths: the process must not depend on where it was started.
    command = [sys.executable, "-m", "noria.cli", "up", "--home", str(home.resolve())]
    for path in files:
        command += ["--file", str(path)]
    began = log.stat().st_size if log.exists() else 0
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NoriaError(
                f"`noria up` stopped with exit code {process.returncode}:\n{_tail(log, began)}"
            )
        ready = _ready(home, names)
        if ready:
            return Background(process, ready)
        time.sleep(_PAUSE)
    raise Unavailable(
        f"not ready after {timeout:g} s, and still at it (pid {process.pid})",
        fix=f"look into {log}, or `noria status` later",
    )


def _ready(home: Path, names: Sequence[str]) -> Sequence[ModelStatus]:
    try:
        statuses = embedded().status(home)
    except NoriaError:  # Nothing there yet: it has only just begun.
        return ()
    asked = [status for status in statuses if not names or status.model in names]
    complete = asked and set(names) <= {status.model for status in asked}
    return asked if complete and all(status.url for status in asked) else ()


def _tail(log: Path, began: int) -> str:
    with log.open("rb") as lines:
        lines.seek(began)
        text = lines.read().decode("utf-8", "replace")
    return "\n".join(f"  {line}" for line in text.splitlines()[-_TAIL_LINES:])
