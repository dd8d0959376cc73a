"""Run ``noria backtest`` with its defaults on every stream; a table, and ``bench-loop.json``.

``python -m tests.bench.streams FOLDER [--only NAME ...] [--cache DIR]``; the folders come from
``prepare.py``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

CHOSEN_ON: Final = (
    "late-flights",
    "diamonds-change",
    "computing-jobs",
    "fifty-a-day",
    "house-prices",
    "train-riders",
    "coin-tosses",
    "storm-kinds",
    "one-percent",
    "delivery-change",
)
"""The streams that were looked at while the defaults were made. The others only report."""

UNCHANGING: Final = ("diamonds-steady", "computing-jobs", "coin-tosses", "bad-loans")
"""Streams whose rows come from one distribution: every drift alarm in them is false."""

_RULES: Final = ("loop", "frozen", "monthly", "grow", "no_change")


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.streams", description=__doc__)
    parser.add_argument("folder", type=Path, help="where prepare.py has put the streams")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these streams")
    parser.add_argument("--cache", type=Path, help="where fits are kept; default: FOLDER/.cache")
    given = parser.parse_args(arguments)
    cache = given.cache or given.folder / ".cache"
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(given.folder.glob("*/model.yaml")):
        name = file.parent.name
        if not given.only or name in given.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            found[name] = _backtest(file, cache / name)
    Path("bench-loop.json").write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(table(found))
    return 0


def _backtest(file: Path, cache: Path) -> Mapping[str, Any]:
    """Return the figures of one stream."""
    said = file.parent / "backtest.json"
    command = [sys.executable, "-m", "noria.cli", "backtest", "-f", str(file)]
    subprocess.run(
        [*command, "--json", str(said), "--cache", str(cache)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    figures: Mapping[str, Any] = json.loads(said.read_text())
    return figures


def regret(figures: Mapping[str, Any]) -> float | None:
    """Return how far the loop is behind the best rule in hindsight, in the metric's unit."""
    sign = 1.0 if figures["greater_is_better"] else -1.0
    values = [
        sign * figures["values"][rule] for rule in _RULES if figures["values"][rule] is not None
    ]
    own = figures["values"]["loop"]
    return None if own is None else max(values) - sign * own


def table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the figures of all streams as a table."""
    out = Table(title="The loop, by default settings", title_justify="left")
    out.add_column("stream")
    for name in (
        "metric", "rows", "frozen", "monthly", "loop", "share", "grow's share", "retrains",
        "grow / monthly", "refused", "aborted", "alarms", "worst part", "regret", "seconds",
    ):  # fmt: skip
        out.add_column(name, justify="right")
    for name, one in found.items():
        values, retrains = one["values"], one["retrains"]
        gain = values["monthly"] - values["frozen"]
        grow = (values["grow"] - values["frozen"]) / gain if one["share"] is not None else None
        out.add_row(
            name + ("*" if name in CHOSEN_ON else "") + ("°" if name in UNCHANGING else ""),
            one["metric"],
            f"{one['rows']:,}",
            *(f"{values[rule]:.4f}" for rule in ("frozen", "monthly", "loop")),
            _percent(one["share"]),
            _percent(grow),
            str(retrains["loop"]),
            f"{retrains['grow']} / {retrains['monthly']}",
            str(one["refused"]),
            str(one["aborted"]),
            str(one["alarms"]),
            "-" if one["worst_month"] is None else f"{one['worst_month']:+.4f}",
            "-" if (behind := regret(one)) is None else f"{behind:.4f}",
            f"{one['seconds']:.0f}",
        )
    shares = [one["share"] for one in found.values() if one["share"] is not None]
    rest = [
        one["share"]
        for name, one in found.items()
        if one["share"] is not None and name not in CHOSEN_ON
    ]
    if shares:
        said = f"mean share {_percent(sum(shares) / len(shares))}"
        if rest:
            said += f"; of the streams that were not looked at {_percent(sum(rest) / len(rest))}"
        out.caption = f"{said}. * was looked at while the defaults were made, ° has no change"
    return out


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
