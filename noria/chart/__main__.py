"""Writes the generated files of the chart: ``python -m noria.chart [--check]``."""

from __future__ import annotations

from collections.abc import Sequence

from noria import generated as files
from noria.chart.generate import generated


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with ``--check`` only say which are stale. Returns the exit code."""
    return files.run("noria.chart", generated, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
