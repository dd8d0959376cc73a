"""``noria up --detach``: start the loop in a process of its own and wait until it answers."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noria.cli.facade import embedded
from noria.cli.options import at_home
from noria.cli.places import place_of
from noria.errors import InvalidInput, NoriaError, Unavailable
from noria.files import for_appending, room_problem

if TYPE_CHECKING:
    from noria.view import ModelView

_PAUSE: Final = 0.5
_TAIL_LINES: Final = 12
_LASTING_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Background:
    """A loop that goes on by itself: its process, and its models, each with a URL."""

    process: subprocess.Popen[bytes]
    models: Sequence[ModelView]


def start(home: Path, files: Sequence[Path], names: Sequence[str], timeout: float) -> Background:
    """Start ``noria up`` in the background; return once each model has a URL and a champion.

    Args:
        home: Where the state and ``up.log`` are.
        files: The models' files; none means the models known in ``home``.
        names: Names of the models in ``files``.
        timeout: Seconds to wait. The process goes on when they are over.

    Raises:
        InvalidInput: Another one runs here already, or it refused to start.
        NoriaError: It stopped by itself, or has nothing to serve; the message says why.
        Unavailable: It is not ready in time.
    """
    where = "".join(f" {shlex.quote(word)}" for word in at_home(home))
    if embedded().turning(home):
        raise InvalidInput(
            f"{home}: `noria up` runs here already",
            fix=f"see `noria status{where}`; to start it with other models, first "
            f"`noria down{where}`",
        )
    log = for_appending(home / "up.log")
    # Absolute paths: the process must not depend on where it was started.
    command = [sys.executable, "-m", "noria.cli", "up", "--home", str(home.resolve())]
    for path in files:
        command += ["--file", str(path)]
    began = log.stat().st_size
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    well = time.monotonic()
    while time.monotonic() < deadline:
        if process.poll() is not None:
            if process.returncode == InvalidInput.exit_code:
                raise InvalidInput(_refusal(log, began))
            said = _tail(log, began) or f"  {room_problem(home) or 'it said nothing'}"
            raise NoriaError(f"`noria up` stopped with exit code {process.returncode}:\n{said}")
        models = _present(home, names)
        if all(model.problem is None for model in models):
            well = time.monotonic()
        # A champion may take a moment to answer again: its route comes after its server.
        lasting = time.monotonic() - well > _LASTING_SECONDS
        for model in models:
            if model.problem is not None and (lasting or model.champion is None):
                raise NoriaError(
                    f"{model.name}: {model.problem}",
                    fix=f"see `noria why {model.name}{where}`. The loop goes on: mend it (for "
                    f"another version `noria rollout retrain {model.name}{where}`), or stop with "
                    f"`noria down{where}`",
                )
        # A first version has its traffic a turn before it is the champion.
        if models and all(model.url and model.champion for model in models):
            return Background(process, models)
        time.sleep(_PAUSE)
    raise Unavailable(
        f"not ready after {timeout:g} s, and still at it (pid {process.pid})",
        fix=f"look into {log}, or `noria status{where}` later",
    )


def _present(home: Path, names: Sequence[str]) -> Sequence[ModelView]:
    """Return how the models are, once the new process has turned each loop; before, nothing."""
    try:
        models = place_of(home, None).overview() if embedded().turning(home) else ()
    except NoriaError:  # It has only just begun.
        return ()
    asked = [model for model in models if not names or model.name in names]
    return asked if set(names) <= {model.name for model in asked} else ()


def _refusal(log: Path, began: int) -> str:
    """Return what the process said is wrong, without what it said before."""
    _, _, said = f"\n{_written(log, began)}".rpartition("\nerror: ")
    return said.strip()


def _tail(log: Path, began: int) -> str:
    return "\n".join(f"  {line}" for line in _written(log, began).splitlines()[-_TAIL_LINES:])


def _written(log: Path, began: int) -> str:
    with log.open("rb") as lines:
        lines.seek(began)
        return lines.read().decode("utf-8", "replace")
