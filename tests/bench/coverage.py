"""Print how often each metric's interval covers, as ``docs/statistics.md`` has it.

``python -m tests.bench.coverage [RUNS]``: Markdown tables; two thousand runs a cell take about
ten minutes on one core, and leave a standard error of half a percent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from noria.measures.estimates import CLASSIFICATION, REGRESSION
from tests.measures.coverage import CLASSES, VALUES, Cell, Draw, cell, three

BINARY = ((100, 1), (100, 2), (100, 3), (100, 5), (200, 10), (1000, 30), (200, 100))
SIZES = ((1, 0), (3, 0), (10, 0), (100, 0), (300, 0), (1000, 0))
MULTICLASS = ((200, 5), (200, 15), (1000, 100))
_RARELY = 0.2


def tables(runs: int) -> Iterator[str]:
    """Yield the lines of all tables."""
    for paired in (False, True):
        what = "The difference of two models on the same rows" if paired else "One model"
        for title, metrics, worlds, sizes in (
            ("two classes", CLASSIFICATION, CLASSES, BINARY),
            ("three classes", CLASSIFICATION, (three,), MULTICLASS),
            ("values", REGRESSION, VALUES, SIZES),
        ):
            yield f"\n### {what}, {title}\n"
            heads = [f"{r} of {n}" if r else f"{n} rows" for n, r in sizes]
            yield f"| metric | world | {' | '.join(heads)} |"
            yield f"|---|---|{'---|' * len(sizes)}"
            for metric in metrics:
                for world in worlds:
                    found = _row(metric, world, sizes, runs, paired=paired)
                    yield f"| {metric} | {world.__name__} | {' | '.join(found)} |"


def _row(
    metric: str, world: Draw, sizes: Sequence[tuple[int, int]], runs: int, *, paired: bool
) -> list[str]:
    return [_said(cell(metric, world, n, r, paired=paired, runs=runs)) for n, r in sizes]


def _said(found: Cell) -> str:
    share = found.given / found.runs
    if share < _RARELY:
        missed = (found.under + found.over) / found.runs
        return "none" if not found.given else f"{share:.0%} given, {missed:.1%} wrong"
    said = f"{found.coverage:.1%} ({found.under / found.given:.1%}, {found.over / found.given:.1%})"
    return said if share > 1 - _RARELY / 4 else f"{said} of {share:.0%}"


if __name__ == "__main__":
    for line in tables(int(sys.argv[1]) if len(sys.argv) > 1 else 2000):
        print(line, flush=True)
