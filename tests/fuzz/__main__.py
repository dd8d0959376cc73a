"""``python -m tests.fuzz [--minutes N] [--seed N]``: see docs/security.md."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.suite import parts
from tests.fuzz.tally import Tally


def main(arguments: list[str]) -> int:
    """Fuzz every door; print the counts and write ``fuzz.json``; 1 when an invariant broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args(arguments)
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory(prefix="noria-fuzz-") as folder:
        for share, part in parts(Path(folder)):
            tallies += part(share * given.minutes * 60, given.seed)
            print(f"{tallies[-1].door}: {tallies[-1].tried} tried", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 130, highlight=False).print(_table(tallies))
    document = {"seed": given.seed, "doors": [dataclasses.asdict(tally) for tally in tallies]}
    Path("fuzz.json").write_text(json.dumps(document, indent=1, ensure_ascii=True))
    for tally in tallies:
        for found in tally.found:
            print(f"{tally.door}: {found}", file=sys.stderr)
    return 1 if any(tally.faults for tally in tallies) else 0


def _table(tallies: list[Tally]) -> Table:
    table = Table(title="Fuzzing")
    table.add_column("door")
    for name in ("tried", "2xx", "4xx", "closed", "503", "5xx", "tracebacks", "hangs", "dead"):
        table.add_column(name, justify="right")
    for name in ("MiB", "p99 alone", "beside"):
        table.add_column(name, justify="right")
    for one in tallies:
        counts = (
            one.tried, one.accepted, one.refused, one.closed, one.later, one.broken,
            one.tracebacks, one.hangs, one.dead,
        )  # fmt: skip
        table.add_row(
            one.door,
            *(f"{count:,}" for count in counts),
            f"{one.start:.0f} → {one.peak:.0f}",
            *("" if wait is None else f"{wait:.1f}" for wait in (one.alone, one.beside)),
        )
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
