"""Runs the parts one after another, prints the table and writes ``bench.json``."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.bench.aims import Aim
from tests.bench.parts import Part
from tests.bench.rows import Row

ROOT: Final = Path(__file__).parents[2]
_LEGEND: Final = """\
baseline: serve.* FastAPI + orjson; *.kserve the stock kserve server; drift.* Alibi Detect;
          pipeline.run plain function calls; of the others, the aim
ratio:    value / baseline; an aim that ends in x is about the ratio"""
_TAIL_LINES: Final = 15
_TIMEOUT_FACTOR: Final = 10
_TIMEOUT_MIN_SECONDS: Final = 60
_STOP_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a part gave: rows, or the end of what it said when it failed."""

    part: Part
    rows: tuple[Row, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when: the load average is of the last minute."""

    cores: int
    load_before: float
    load_after: float
    seconds: float

    def __str__(self) -> str:
        busy = "; it was busy with other work" if self.load_before > 1 else ""
        return (
            f"{self.cores} cores, {platform.machine()}, Python {platform.python_version()}; "
            f"load average {self.load_before:.2f} at the start{busy}, "
            f"{self.load_after:.2f} at the end; {self.seconds:.0f} s"
        )


def bench(
    parts: Sequence[Part],
    aims: Mapping[str, Aim],
    only: str,
    file: Path,
    console: Console,
) -> int:
    """Measure, print, write ``file``; return the exit code.

    0: every part ran. 1: a part failed; the figures of the others are there. 2: no
    figure's name begins with ``only``.
    """
    chosen = [part for part in parts if part.wanted(only)]
    if not chosen:
        known = ", ".join(name for part in parts for name in part.names)
        console.print(f"no figure begins with {only!r}; they begin with: {known}", markup=False)
        return 2
    before, began = _load(), time.monotonic()
    expected = sum(part.seconds for part in chosen)
    console.print(f"{len(chosen)} parts, about {expected} s on two idle cores", markup=False)
    outcomes = [_measure(part, console) for part in chosen]
    rows = [row for outcome in outcomes for row in outcome.rows if row["name"].startswith(only)]
    machine = Machine(os.cpu_count() or 1, before, _load(), time.monotonic() - began)
    file.write_text(json.dumps(rows, indent=1) + "\n")
    console.print()
    console.print(table(rows, aims, machine))
    console.print(_LEGEND, markup=False)
    console.print(f"the figures are in {file.name}", markup=False)
    failed = [outcome for outcome in outcomes if outcome.problem]
    for outcome in failed:
        console.print(f"\nFAILED: {', '.join(outcome.part.names)}", style="bold red")
        console.print(outcome.problem, markup=False)
    return 1 if failed else 0


def table(rows: Sequence[Row], aims: Mapping[str, Aim], machine: Machine) -> Table:
    """Return the figures as a table, one section for each first word of a name."""
    made = Table(title="Noria, measured", caption=str(machine), caption_justify="left")
    for name in ("name", "value", "unit", "baseline", "ratio", "aim", ""):
        made.add_column(name, justify="left" if name in ("name", "unit", "") else "right")
    section = ""
    for row in rows:
        word = row["name"].split(".")[0]
        if section not in ("", word):
            made.add_section()
        section = word
        aim = aims.get(row["name"])
        made.add_row(
            row["name"],
            figure(row["value"]),
            row["unit"],
            figure(row["baseline"]),
            "" if row["ratio"] is None else f"{row['ratio']:.3f}",
            "" if aim is None else str(aim),
            _verdict(aim, row),
        )
    return made


def figure(value: float | None) -> str:
    """Return a number with as many digits as a person reads: three of them, or all whole ones."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _verdict(aim: Aim | None, row: Row) -> Text:
    if aim is None:
        return Text("")
    return Text("met", style="green") if aim.met(row) else Text("missed", style="bold red")


def _measure(part: Part, console: Console) -> Outcome:
    console.print(f"  {', '.join(part.names)} (about {part.seconds} s) ...", markup=False, end=" ")
    began = time.monotonic()
    outcome = _run(part)
    said = "FAILED" if outcome.problem else "done"
    console.print(f"{said} in {time.monotonic() - began:.0f} s", markup=False)
    return outcome


def _run(part: Part) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "rows.json", Path(folder) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.one", part.target, str(file)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                process_group=0,
            )
        timeout = max(part.seconds * _TIMEOUT_FACTOR, _TIMEOUT_MIN_SECONDS)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return Outcome(part, problem=f"no end after {timeout} s\n{_tail(log)}")
        finally:
            _end(process)
        if code != 0:
            return Outcome(part, problem=f"exit code {code}\n{_tail(log)}")
        rows: list[Row] = json.loads(file.read_text())
        return Outcome(part, tuple(rows))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a part that still runs, so that it stops what it started; then its group."""
    steps: tuple[tuple[Callable[[int, int], None], signal.Signals], ...] = (
        (os.kill, signal.SIGINT),
        (os.killpg, signal.SIGKILL),
    )
    for send, number in steps:
        if process.poll() is not None:
            return
        send(process.pid, number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


def _load() -> float:
    return os.getloadavg()[0]
