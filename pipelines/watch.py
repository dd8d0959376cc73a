"""Follows a local KFP run by what it prints: which step it is in, and why it failed.

KFP's local runner keeps no state that can be asked. It announces each task on
standard output, passes on what the task prints indented, and raises an error
that names the tasks in ANSI colours but not the reason; the traceback is only
among the printed lines.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from components.failure import MARK, MAX_REASON_CHARS, said

_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_STARTED: Final = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} - INFO - Executing task '([\w-]+)'$")
_TRACEBACK: Final = "Traceback (most recent call last):"
_RAISED: Final = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$")
_FOREIGN: Final = re.compile(
    r"^\d\d:\d\d:\d\d\.\d{3} - |^-{20,}$|^\[KFP Executor "  # KFP's local runner
    r"|^[IWEF]\d{4} \d\d:|^time=|^Error: exit status"  # KFP's launcher, Argo
)
_FATAL: Final = re.compile(r"^F\d{4} [\d:.]+ +\d+ [\w./-]+:\d+\] (.+)$")
_INDENT: Final = "    "
_KEPT_LINES: Final = 5000


class Watch(io.TextIOBase):
    """A standard output that writes a plain log and notices steps.

    ``on_step`` gets the name of each step as it starts.
    """

    def __init__(self, log: TextIO, on_step: Callable[[str], None]) -> None:
        self._log = log
        self._on_step = on_step
        self._partial = ""
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.step = ""
        self.seconds: dict[str, float] = {}
        self._since = 0.0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take printed text, in any pieces."""
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._take(_ANSI.sub("", line).rstrip("\r"))
        return len(text)

    def flush(self) -> None:
        """Make the log visible to readers."""
        with contextlib.suppress(OSError):
            self._log.flush()

    def finish(self) -> None:
        """Close the books on the last step."""
        if self._partial:
            self.write("\n")
        self._stop_clock()
        self.flush()

    def reason(self) -> str:
        """Say why the current step failed, in the words of the error that it raised."""
        return explain(self._lines)

    def _take(self, line: str) -> None:
        self._write(line + "\n")
        started = _STARTED.match(line)
        if started is None:
            self._lines.append(line.removeprefix(_INDENT))
            return
        self.flush()
        self._stop_clock()
        self._lines.clear()
        self.step, self._since = started[1], time.monotonic()
        self._on_step(self.step)

    def _write(self, text: str) -> None:
        """Keep a line. A full disk takes the log, not the reason that is read from it."""
        with contextlib.suppress(OSError):
            self._log.write(text)

    def _stop_clock(self) -> None:
        if self.step and self.step not in self.seconds:
            self.seconds[self.step] = time.monotonic() - self._since


def explain(lines: Sequence[str] | deque[str]) -> str:
    """Return what the step said of its failure, else the message of the last traceback.

    Errors of ours come without their class. Without either the process was killed, for
    instance for want of memory.
    """
    kept = list(lines)
    told = said(kept)
    if told:
        return told
    starts = [at for at, line in enumerate(kept) if line == _TRACEBACK]
    if not starts:
        return "it stopped without an error message; was it killed, or out of memory?"
    tail = kept[starts[-1] + 1 :]
    for at, line in enumerate(tail):
        raised = _RAISED.match(line)
        if raised is None:
            continue
        message = "\n".join([raised[2] or "", *_until_kfp_speaks(tail[at + 1 :])]).strip()
        where, _, name = raised[1].rpartition(".")
        text = message if where == "noria.errors" and message else f"{name}: {message}".rstrip(": ")
        return text[:MAX_REASON_CHARS]
    return "it stopped in the middle of an error message"


def explain_log(text: str) -> str:
    """Return why a step failed, from the log of its pod; empty when the log does not say.

    A pod's log is not the step's alone: KFP's launcher and Argo write into it, and a driver's
    is only theirs.
    """
    lines = [_ANSI.sub("", line).rstrip("\r") for line in text.splitlines()]
    if any(line == _TRACEBACK or MARK in line for line in lines):
        return explain(lines)
    fatal = [found[1] for found in map(_FATAL.match, lines) if found is not None]
    return fatal[-1][:MAX_REASON_CHARS] if fatal else ""


def _until_kfp_speaks(lines: Sequence[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        if _FOREIGN.match(line):
            break
        found.append(line.rstrip())
    return found
