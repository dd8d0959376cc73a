"""Damages files of a home, and asks every command what it makes of them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz.tally import Tally

_COMMAND_SECONDS: Final = 120.0
_FINE: Final = (0, 1, 2)
COMMANDS: Final = (
    ("status", "--json"),
    ("why", "parcels"),
    ("ledger", "verify"),
    ("rollout", "pause", "parcels"),
    ("down",),
)


def _empty(content: bytes, draw: random.Random) -> bytes:
    return b""


def _half(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _bytes(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.randbytes(50) + content[at + 50 :]


def _other(content: bytes, draw: random.Random) -> bytes:
    return draw.choice(
        [b"null", b"[]", b'"x"', b"{}", b"0", b"[" * 100_000, b'{"pid": 1e999}', b"\xff\xfe",
         b'{"pid": "x", "started": 7, "http": -1, "path": 3, "url": []}', b"SQLite format 3\x00"]
    )  # fmt: skip


DAMAGES: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (
    _empty,
    _half,
    _bytes,
    _other,
)


def make_home(folder: Path) -> Path:
    """Train a small model in a home, once; return the home."""
    subprocess.run(
        [sys.executable, "-m", "noria.cli", "init", "parcels"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    home = folder / ".noria"
    subprocess.run(
        [sys.executable, "-m", "noria.cli", "train", "-f", "parcels/model.yaml", "--home", home],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    _run(home, ("status",))
    return home


def damage(home: Path, seconds: float, first_seed: int) -> Tally:
    """Damage one file after another in copies of ``home``, for so long."""
    tally = Tally("state folder")
    draw = random.Random(first_seed)
    deadline = time.monotonic() + seconds
    copy = home.parent / "copy" / ".noria"
    while time.monotonic() < deadline:
        shutil.rmtree(copy.parent, ignore_errors=True)
        shutil.copytree(home, copy, symlinks=True)
        files = sorted(path for path in copy.rglob("*") if path.is_file())
        file = draw.choice(files)
        done = draw.choice(DAMAGES)
        file.write_bytes(done(file.read_bytes(), draw))
        command = draw.choice(COMMANDS)
        what = f"{file.relative_to(copy)} {done.__name__} {' '.join(command)}"
        try:
            ran = _run(copy, command)
        except subprocess.TimeoutExpired:
            tally.tried += 1
            tally.hangs += 1
            tally.keep("hang", what.encode())
            continue
        said = ran.stdout + ran.stderr
        tally.tried += 1
        tally.accepted += ran.returncode == 0
        tally.refused += ran.returncode in (1, 2)
        if ran.returncode not in _FINE:
            tally.broken += 1
            tally.keep(f"exit {ran.returncode}", what.encode() + b": " + said[-500:])
        elif b"Traceback" in said:
            tally.tracebacks += 1
            tally.keep("traceback", what.encode() + b": " + said[-500:])
    shutil.rmtree(copy.parent, ignore_errors=True)
    return tally


def _run(home: Path, command: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "noria.cli", *command, *(["--home", str(home)])],
        cwd=home.parent, capture_output=True, check=False, timeout=_COMMAND_SECONDS,
        env={**os.environ, "NORIA_DEBUG": ""},
    )  # fmt: skip
