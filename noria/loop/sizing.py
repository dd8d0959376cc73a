"""How many rows a canary step needs, and how long they take at the present traffic. Pure.

On small traffic a step that proved everything would never end. Then it is a *smoke test*:
what the candidate answers within ``patience`` must show nothing bad, and the gates, which were
measured on many rows, have decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from noria.loop.ports import ERROR_RATE
from noria.measures.catalog import SERVING_METRICS, Metric
from noria.measures.proportion import samples_for_quantile
from noria.spec.family import Family
from noria.spec.serving import Canary, Check

LEAST: Final = 100
"""Rows without which no check is judged, unless the file says how many."""

LEAST_SMOKE: Final = 5
"""Rows that even a smoke test needs."""

SHORTEST: Final = timedelta(hours=1)
LONGEST: Final = timedelta(days=30)
LONGEST_SMOKE: Final = timedelta(days=365)
"""A smoke test waits for rows that come seldom: once a month, or in one season."""
DEPLOYMENT: Final = timedelta(hours=24)
"""How long a candidate may take to become ready where the file does not say."""

_TIMES: Final = 3
_RULE_OF_THREE: Final = 3.0
_LEAST_RATE: Final = 0.001
_QUANTILES: Final = {"latency-p50": 0.5, "latency-p99": 0.99}
_POWER: Final = 2.0 * (1.645 + 0.842) ** 2
"""Two versions on different rows: of the difference, 95 % one-sided and a power of 80 %."""
_ERROR_VARIANCE: Final = 0.01
"""Errors of a server are rare."""
_DAY: Final = timedelta(days=1)
_UNITS: Final = ((_DAY, "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


class Plan(msgspec.Struct, frozen=True):
    """What one step needs. ``needs``: rows for each check; ``full`` of them can be waited for.

    ``rows`` is how many the candidate must have answered, ``per_day`` how many it answers a
    day, None when that is unknown. ``smoke`` says that some check can't be waited for.
    """

    needs: tuple[int, ...]
    full: tuple[bool, ...]
    rows: int
    smoke: bool
    per_day: float | None

    def starved(self, canary: Canary) -> bool:
        """Whether not even a smoke test's rows come within the patience."""
        takes = self.takes(LEAST_SMOKE)
        return self.smoke and takes is not None and takes > canary.patience

    def takes(self, rows: int) -> timedelta | None:
        """Return how long the candidate takes for so many rows; None when that is unknown."""
        if not self.per_day:
            return None
        return min(rows / self.per_day, 36_500.0) * _DAY


def needed(canary: Canary, family: Family, check: Check) -> int:
    """Return the rows that a check, of a metric of the family or the server, needs to be judged."""
    if canary.min_samples != "auto":
        return canary.min_samples
    return _by_power(check, family.named(check.metric))


def plan(
    canary: Canary,
    family: Family,
    percent: int,
    rows_per_day: float | None,
    spent: timedelta = timedelta(0),
) -> Plan:
    """Return what a step of ``percent`` needs.

    Args:
        canary: The spec's section.
        family: Whose metrics the checks are of, beside the server's.
        percent: The candidate's share of the traffic.
        rows_per_day: What all versions together answer; None when unknown.
        spent: How long the step has had its traffic. Labels may come later than the patience,
            and what then still lacks them is not waited for.
    """
    checks = canary.analysis
    needs = tuple(needed(canary, family, check) for check in checks)
    per_day = None if rows_per_day is None else max(0.0, rows_per_day) * percent / 100.0
    patient = canary.min_samples != "auto"
    within = math.inf if patient or per_day is None else per_day * (canary.patience / _DAY)
    late = not patient and spent >= canary.patience
    full = tuple(
        need <= within and not (late and check.metric not in SERVING_METRICS)
        for check, need in zip(checks, needs, strict=True)
    )
    waited = [need for need, whole in zip(needs, full, strict=True) if whole]
    smoke = not all(full)
    if ERROR_RATE not in [check.metric for check in checks]:
        answered = LEAST if canary.min_samples == "auto" else canary.min_samples
        smoke = smoke or answered > within
        waited += [answered] if answered <= within else []
    if smoke:
        waited.append(LEAST_SMOKE if within == math.inf else max(LEAST_SMOKE, int(within)))
    return Plan(needs, full, max(waited), smoke, per_day)


def longest(canary: Canary, step: Plan | None = None) -> timedelta:
    """Return how long a step may take before it is given up; at most, without its plan."""
    if canary.step_timeout != "auto":
        return canary.step_timeout
    if step is not None and step.smoke:
        return LONGEST_SMOKE
    expected = None if step is None else step.takes(step.rows)
    if expected is None:
        return LONGEST
    if any(check.metric not in SERVING_METRICS for check in canary.analysis):
        expected = max(expected, canary.patience)  # labels come later than answers
    return min(max(_TIMES * expected, SHORTEST), LONGEST)


def in_words(duration: timedelta) -> str:
    """Write about how long: ``40 minutes``, ``9 hours``, ``62 days``."""
    size, unit = next((of for of in _UNITS if duration >= 2 * of[0]), _UNITS[-1])
    count = max(1, round(duration / size))
    return f"{count} {unit}{'' if count == 1 else 's'}"


def rate_in_words(rows: float) -> str:
    """Write a rate by its two leading digits: ``4,800 rows a day``."""
    return f"{float(f'{rows:.2g}'):,g} rows a day" if rows < 1e6 else f"{rows:.2g} rows a day"


def _by_power(check: Check, metric: Metric) -> int:
    found = [LEAST]
    if check.metric == ERROR_RATE and check.max is not None:
        found.append(math.ceil(_RULE_OF_THREE / max(check.max, _LEAST_RATE)))
    if check.metric in _QUANTILES:
        found.append(samples_for_quantile(_QUANTILES[check.metric]))
    if check.max_drop and metric.low is not None and metric.high is not None:
        # The greatest that the variance of numbers between two limits can be (Popoviciu).
        greatest = (metric.high - metric.low) ** 2 / 4.0
        variance = _ERROR_VARIANCE if check.metric == ERROR_RATE else greatest
        found.append(math.ceil(_POWER * variance / check.max_drop**2))
    return max(found)


def canary_needs(canary: Canary, family: Family) -> Sequence[str]:
    """Say for each step what rows it needs, and what little traffic makes of it."""
    said = []
    for number, percent in enumerate(canary.steps, 1):
        whole = plan(canary, family, percent, None)
        traffic = math.ceil(whole.rows * 100 / percent)
        text = f"{percent} %: {whole.rows} rows of the candidate, {traffic:,} of all traffic"
        if canary.min_samples == "auto":
            a_day = 100 / percent / (canary.patience / _DAY)
            most = math.ceil(max(whole.needs, default=whole.rows) * a_day)
            text = f"{text}; a smoke test under {most:,} rows a day"
            if number < len(canary.steps):
                text = f"{text}, left out under {math.ceil(LEAST_SMOKE * a_day):,}"
        said.append(text)
    return said
