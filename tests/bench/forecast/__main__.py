"""Forecast the official holdouts with default settings; a table, and ``bench-forecast.json``.

``python -m tests.bench.forecast FOLDER [--only NAME]``; the files come from ``prepare.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from noria.tasks.forecasting import accuracy, boosting, intervals, methods
from tests.bench.forecast import family

Array = NDArray[np.float64]
Said = Callable[[Array], methods.Attempt]

SEASONS: Final = {"yearly": 1, "quarterly": 4, "monthly": 12, "other": 1}
CHOSEN_ON: Final = ("M1", "Tourism")
"""Whose holdouts were looked at to choose the settings. M3's only report."""

BOOSTING: Final = "boosting"
SLOW: Final = "arima"
"""It is measured on the smallest competition alone: on M3 it would take a quarter of an hour."""

FAMILY: Final = ("dlinear", "auto")
"""Algorithms of the family as a user has it: samples, choice, intervals and all."""
MEASURED: Final = (*methods.METHODS, BOOSTING, *FAMILY)
LEVEL: Final = 0.8
_ONE_BY_ONE: Final = 200
_LEAST_SEASONS: Final = 2
_LEAST_VALUES: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Series of one kind: ``histories`` (m, L), ``futures`` (m, h)."""

    data: str
    kind: str
    histories: Array
    futures: Array

    @property
    def season(self) -> int:
        return SEASONS[self.kind]

    def before(self, steps: int) -> tuple[Array, Array]:
        """Return the histories so many steps earlier, of two seasons at least, and what came."""
        horizon = self.futures.shape[1]
        earlier = self.histories[:, :-steps]
        came = np.full((len(earlier), horizon), np.nan)
        known = min(steps, horizon)
        came[:, :known] = self.histories[:, -steps:][:, :known]
        least = max(_LEAST_SEASONS * self.season, _LEAST_VALUES)
        long = (~np.isnan(earlier)).sum(axis=1) >= least
        return earlier[long], came[long]


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forecast", description=__doc__)
    parser.add_argument("folder", type=Path, help="where prepare.py has put the series")
    parser.add_argument("--only", default="", metavar="NAME", help="only M1, Tourism or M3")
    parser.add_argument("--methods", nargs="*", default=MEASURED, help="only these")
    given = parser.parse_args(arguments)
    methods.forecast("combination", np.arange(40.0)[None], 1, 1)  # the library's import
    methods.forecast("ets", np.sin(np.arange(40.0))[None], 1, 1)
    rows: list[dict[str, Any]] = []
    for name in ("M1", "Tourism", "M3"):
        parts = list(_parts(given.folder, name))
        if given.only in ("", name) and parts:
            for method in given.methods:
                if method == SLOW and name != CHOSEN_ON[0]:
                    continue
                print(f"{name} {method} ...", file=sys.stderr, flush=True)
                rows.extend(_whole(name, method, [_measure(part, method) for part in parts]))
    Path("bench-forecast.json").write_text(json.dumps(rows, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(table(rows))
    return 0


def _parts(folder: Path, name: str) -> Iterator[Part]:
    for file in sorted(folder.glob(f"{name}-*.npz")):
        with np.load(file, allow_pickle=False) as found:
            yield Part(name, file.stem.split("-")[1], found["histories"], found["futures"])


def _measure(part: Part, method: str) -> dict[str, Any]:
    """Forecast the holdout; the interval is of errors at earlier origins of the same series."""
    if method in FAMILY:
        return _measure_family(part, method)
    horizon = part.futures.shape[1]
    began = time.process_time()
    said = _boosted(part) if method == BOOSTING else _local(part, method)
    found = said(part.histories)
    spent = time.process_time() - began
    errors = _errors(part, horizon, said)
    if method == BOOSTING:
        # What a model was fitted on says little of its errors: one of what was known before.
        past = replace(part, histories=part.histories[:, :-horizon])
        errors = _errors(part, horizon, _boosted(past))
    else:
        errors = np.concatenate([errors, _errors(part, horizon // 2, said)])
    widths = intervals.calibrate(errors, (LEVEL,))[LEVEL]
    scale = intervals.scale(part.histories, part.season)
    low, high = intervals.band(found.values, scale, widths)
    some = range(0, len(scale), max(1, len(scale) // _ONE_BY_ONE))
    return {
        "kind": part.kind,
        "smape": accuracy.smape(part.futures, found.values),
        "mase": accuracy.mase(part.futures, found.values, scale),
        "covered": accuracy.coverage(part.futures, low, high),
        "fell back": found.fell_back,
        "alone": np.array([_seconds(said, part.histories[row : row + 1]) for row in some]),
        "seconds": spent,
    }


def _measure_family(part: Part, algorithm: str) -> dict[str, Any]:
    began = time.process_time()
    model = family.fitted(part.kind, part.histories, part.futures.shape[1], algorithm)
    found, low, high = family.answered(model, part.histories)
    spent = time.process_time() - began
    print(f"  {part.kind}: {model.forecaster.settings.method}", file=sys.stderr, flush=True)
    some = range(0, len(low), max(1, len(low) // _ONE_BY_ONE))

    def said(histories: Array) -> methods.Attempt:
        return family.answered(model, histories)[0]

    return {
        "kind": part.kind,
        "smape": accuracy.smape(part.futures, found.values),
        "mase": accuracy.mase(
            part.futures, found.values, intervals.scale(part.histories, part.season)
        ),
        "covered": accuracy.coverage(part.futures, low, high),
        "fell back": found.fell_back,
        "alone": np.array([_seconds(said, part.histories[row : row + 1]) for row in some]),
        "seconds": spent,
    }


def _errors(part: Part, steps: int, said: Said) -> Array:
    """Return the absolute scaled errors so many steps before the end, (n, h)."""
    earlier, came = part.before(steps)
    errors = np.abs(came - said(earlier).values)
    return np.asarray(errors / intervals.scale(earlier, part.season)[:, None])


def _local(part: Part, method: str) -> Said:
    horizon = part.futures.shape[1]
    return lambda histories: methods.attempt(method, histories, part.season, horizon)


def _boosted(part: Part) -> Said:
    """Fit on every third of a horizon, from half a horizon before the end to two."""
    horizon, width = part.futures.shape[1], part.histories.shape[1]
    samples = [
        part.before(steps)
        for steps in range(horizon // 2, 2 * horizon, max(1, horizon // 3))
        if steps < width - _LEAST_VALUES
    ]
    model = boosting.fit(
        np.concatenate([_of_width(earlier, width) for earlier, _ in samples]),
        np.concatenate([came for _, came in samples]),
        season=part.season,
        seed=0,
        threads=1,
        weight=None,
        params={},
    )

    def said(histories: Array) -> methods.Attempt:
        values = model.predict(_of_width(histories, width))
        return methods.Attempt(values, np.zeros(len(values), np.bool_))

    return said


def _of_width(histories: Array, width: int) -> Array:
    front = np.full((len(histories), max(0, width - histories.shape[1])), np.nan)
    return np.concatenate([front, histories], axis=1)[:, -width:]


def _seconds(said: Said, history: Array) -> float:
    began = time.perf_counter()
    said(history)
    return time.perf_counter() - began


def _whole(data: str, method: str, parts: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the figures of each kind of series, and of all."""
    kinds = list(dict.fromkeys(part["kind"] for part in parts))
    for kind in (*kinds, "all"):
        own = [part for part in parts if kind in ("all", part["kind"])]
        joined = {
            name: np.concatenate([part[name] for part in own])
            for name in ("smape", "mase", "covered", "fell back", "alone")
        }
        yield {
            "data": data,
            "kind": kind,
            "method": method,
            "series": joined["smape"].size,
            "sMAPE": float(joined["smape"].mean()),
            "MASE": float(joined["mase"].mean()),
            "coverage": float(joined["covered"].mean()),
            "fell back": int(joined["fell back"].sum()),
            "CPU s": sum(part["seconds"] for part in own),
            "p50 ms": float(np.median(joined["alone"]) * 1000.0),
        }


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the figures; a section for each competition."""
    made = Table(title=f"Forecasts of official holdouts, {LEVEL:.0%} intervals")
    for name in rows[0] if rows else ():
        made.add_column(name, justify="left" if name in ("data", "kind", "method") else "right")
    last = ""
    for row in rows:
        if last not in ("", row["data"]):
            made.add_section()
        last = row["data"]
        made.add_row(
            *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values())
        )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
