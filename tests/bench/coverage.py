"""Print how often each metric's interval covers, as ``docs/statistics.md`` has it.

``python -m tests.bench.coverage [RUNS [samples]]``: Markdown tables; two thousand runs a cell take
about ten minutes on one core, and leave a standard error of half a percent. ``samples``: the tables
of queries, documents, several targets and a family's own metrics alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain

from noria.measures.catalog import Metric
from noria.measures.estimates import CLASSIFICATION, REGRESSION
from noria.measures.measuring import value_of
from tests.measures.coverage import CLASSES, MANY, VALUES, Cell, Draw, cell
from tests.measures.populations import KINDS, Kind, Population, holds, name_of, ordered, told

BINARY = ((100, 1), (100, 2), (100, 3), (100, 5), (200, 10), (1000, 30), (200, 100))
SIZES = ((1, 0), (3, 0), (10, 0), (100, 0), (300, 0), (1000, 0))
MULTICLASS = ((200, 5), (200, 15), (1000, 100))
SAMPLES = (50, 100, 200, 1000)
COMPARED = (200, 1000)
OTHERS = "rankings, spans, several targets, own metrics"
_RARELY = 0.2


def tables(runs: int) -> Iterator[str]:
    """Yield the lines of all tables."""
    for paired in (False, True):
        what = "The difference of two models on the same rows" if paired else "One model"
        for title, metrics, worlds, sizes in (
            ("two classes", CLASSIFICATION, CLASSES, BINARY),
            ("more classes", CLASSIFICATION, MANY, MULTICLASS),
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


def tables_of_samples(runs: int) -> Iterator[str]:
    """Yield the lines of the tables of what is no row: intervals, and two models compared."""
    for paired in (False, True):
        what = "The difference of two models on the same samples" if paired else "One model"
        yield f"\n### {what}, {OTHERS}\n"
        yield f"| metric | population | {' | '.join(f'{count} samples' for count in SAMPLES)} |"
        yield f"|---|---|{'---|' * len(SAMPLES)}"
        for kind in KINDS:
            for metric in kind.metrics:
                for population in kind.populations:
                    cells = (
                        _said(holds(metric, population, count, runs, paired=paired))
                        for count in SAMPLES
                    )
                    name = population.__name__
                    yield f"| {name_of(metric)} | {name} | {' | '.join(cells)} |"
    yield f"\n### Two models compared, {OTHERS}\n"
    yield "| metric | population | worth the same | gain | seen |"
    yield "|---|---|---|---|---|"
    for kind in KINDS:
        for metric in kind.metrics:
            for population in kind.populations:
                yield _compared(kind, metric, population, runs)


def _compared(kind: Kind, metric: Metric | str, population: Population, runs: int) -> str:
    nulls = [told(metric, population, count, runs, kind.worsened) for count in COMPARED]
    seen = [told(metric, population, count, runs) for count in COMPARED]
    truth, ours, theirs = ordered(metric, population)
    gain = abs(value_of(metric, truth, ours) - value_of(metric, truth, theirs))
    wrong = "; ".join(f"{one.better / runs:.1%}, {one.worse / runs:.1%}" for one in nulls)
    right = "; ".join(f"{one.better / runs:.0%}" for one in seen)
    return f"| {name_of(metric)} | {population.__name__} | {wrong} | {gain:.3f} | {right} |"


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
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    rows = () if sys.argv[2:] == ["samples"] else tables(wanted)
    for line in chain(rows, tables_of_samples(wanted)):
        print(line, flush=True)
