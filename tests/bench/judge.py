"""How often the champion gate errs, and how often it sees a gain: ``python -m tests.bench.judge``.

Scores of two models of one population, correlated as two fits of nearly the same rows are,
with a planted difference in AUC. No model is fitted: what is measured is the decision.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from noria.spec import ChampionGate, Gates
from noria.tasks.gates import judge
from noria.tasks.judging import ERRORS, FLOOR, WIDEST
from noria.tasks.measure import Truth, compare

_NORMAL = NormalDist()
# Spread of what only one of two fits says, against what both say.
_OWN = 0.25
_SHARE = 0.3
_CHAMPION = 0.75


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares of the runs, and the mean standard error of the difference."""

    passed: float
    failed: float
    error: float


def simulate(gate: ChampionGate, rows: int, gain: float, runs: int, seed: int = 0) -> Outcome:
    """Judge a candidate that is truly better by ``gain`` AUC, on ``rows`` rows, many times."""
    rng = np.random.default_rng(seed)
    gates = Gates(min_rows=100, champion=(gate,))
    verdicts: list[str] = []
    errors: list[float] = []
    ours, theirs = (_shift(auc) for auc in (_CHAMPION + gain, _CHAMPION))
    for _ in range(runs):
        truth = (rng.random(rows) < _SHARE).astype(np.float64)
        both = rng.normal(size=rows)
        said = [
            1.0 / (1.0 + np.exp(-(shift * truth + both + _OWN * rng.normal(size=rows))))
            for shift in (ours, theirs)
        ]
        found = compare([gate], Truth(truth, 2, 0), said[0], said[1])
        (record,) = judge(gates, {}, found)
        verdicts.append(record.verdict)
        if record.low is not None and record.high is not None:
            reach = 2.0 * _NORMAL.inv_cdf(gate.confidence)
            errors.append((record.high - record.low) / reach)
    return Outcome(
        verdicts.count("pass") / runs, verdicts.count("fail") / runs, float(np.mean(errors))
    )


def _shift(auc: float) -> float:
    """Return how far apart the classes' scores are for an AUC."""
    return _NORMAL.inv_cdf(auc) * (2.0 * (1.0 + _OWN**2)) ** 0.5


def main(arguments: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.judge")
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args(arguments).runs
    strict = ChampionGate(metric="auc", max_drop=0.0)
    plain = ChampionGate(metric="auc", max_drop=0.01, min_gain=-1.0)
    auto = ChampionGate(metric="auc")
    say = sys.stdout.write
    say("truly worse by the margin: passes\n")
    say("rows   margin  auto    0.01 alone  auto, just as good  auto, failed\n")
    for rows in (200, 500, 1000, 3000, 10_000):
        error = simulate(auto, rows, 0.0, 200).error
        margin = min(max(FLOOR, ERRORS * error), WIDEST * FLOOR)
        worse = simulate(auto, rows, -margin, runs)
        alone = simulate(plain, rows, -0.01, runs)
        same = simulate(auto, rows, 0.0, runs)
        say(
            f"{rows:<6} {margin:<7.4f} {worse.passed:<7.3f} {alone.passed:<11.3f} "
            f"{same.passed:<19.3f} {worse.failed:.3f}\n"
        )
    say("\ntruly better by half a standard error of one month's gain: promoted\n")
    say("month  judged  auto   maxDrop 0\n")
    for month in (500, 2000):
        gain = 0.5 * simulate(auto, month, 0.0, 200).error
        for share in (0.5, 1.0, 2.0, 3.0):
            rows = int(month * share)
            found = simulate(auto, rows, gain, runs)
            shown = simulate(strict, rows, gain, runs)
            say(f"{month:<6} {rows:<7} {found.passed:<6.3f} {shown.passed:.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
