"""Writes the generated files of the chart: ``python -m noria.chart [--check]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from noria.chart.generate import generated, stale

_ROOT: Final = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with ``--check`` only say which are stale. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m noria.chart", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--root", type=Path, default=_ROOT, help="folder of the repository")
    given = parser.parse_args(arguments)
    if given.check:
        old = stale(given.root)
        for path in old:
            sys.stderr.write(f"{path} is stale; run `python -m noria.chart`\n")
        return 1 if old else 0
    for path, text in generated().items():
        file = given.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
