"""``python -m tests.bench [--only PREFIX]``: measure Noria; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tests.bench.aims import AIMS
from tests.bench.harness import bench
from tests.bench.parts import PARTS


def main(arguments: list[str]) -> int:
    """Run the benchmark; ``bench.json`` is written into the current directory."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", default="", metavar="PREFIX", help="only figures whose name begins so"
    )
    given = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    return bench(PARTS, AIMS, given.only, Path("bench.json"), console)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
