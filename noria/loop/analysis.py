"""Judging what a candidate's traffic shows, one check at a time.

Four-valued: only evidence passes. No data, too few samples, or a comparison
whose interval still straddles the limit is inconclusive; a source that fails or
a number that is none is an error.
"""

from __future__ import annotations

import math

from noria.loop.state import Judged
from noria.loop.values import Measurement, Verdict
from noria.spec.metrics import METRICS
from noria.spec.serving import Check

Said = tuple[Verdict, str]


def judge(check: Check, measurement: Measurement | None, version: str, min_samples: int) -> Judged:
    """Judge one check of ``spec.serving.canary.analysis``.

    Args:
        check: The limits.
        measurement: What was measured; None when it was not.
        version: The candidate.
        min_samples: Samples without which there is no verdict.
    """
    if measurement is None:
        measurement = Measurement(check.metric, version, None, 0)
    verdict, detail = _judge(check, measurement, min_samples)
    return Judged(measurement, verdict, rule(check), detail)


def rows_answered(measurement: Measurement | None, version: str, min_samples: int) -> Judged:
    """Judge only that enough rows were answered: the error rate's samples without its errors."""
    seen = measurement or Measurement("error-rate", version, None, 0)
    answered = seen.samples - round((seen.value or 0.0) * seen.samples)
    said = f"{answered} of {min_samples} rows answered"
    if seen.problem:
        verdict, said = Verdict.ERROR, f"the rows answered can't be counted: {seen.problem}"
    else:
        verdict = Verdict.PASS if answered >= min_samples else Verdict.INCONCLUSIVE
    return Judged(seen, verdict, f"at least {min_samples} rows answered", said)


def rule(check: Check) -> str:
    """Write a check in words: ``error-rate at most 0.01``."""
    limits = []
    if check.min is not None:
        limits.append(f"at least {check.min:g}")
    if check.max is not None:
        limits.append(f"at most {check.max:g}")
    if check.max_drop is not None:
        limits.append(f"at most {check.max_drop:g} worse than the champion")
    return f"{check.metric} {' and '.join(limits) or 'without a limit'}"


def _judge(check: Check, seen: Measurement, min_samples: int) -> Said:
    if check.min is None and check.max is None and check.max_drop is None:
        return Verdict.ERROR, f"{check.metric} has no limit to be judged by"
    if seen.problem:
        return Verdict.ERROR, f"{check.metric} can't be measured: {seen.problem}"
    if seen.value is None:
        return Verdict.INCONCLUSIVE, f"{check.metric} has no data"
    if not math.isfinite(seen.value):
        return Verdict.ERROR, f"{check.metric} is {seen.value}, which is no number"
    if seen.samples < min_samples:
        return _too_few(check, seen, seen.value, min_samples)
    if check.min is not None and seen.value < check.min:
        return Verdict.FAIL, f"{check.metric} is {seen.value:.4g}, below {check.min:g}"
    if check.max is not None and seen.value > check.max:
        return Verdict.FAIL, f"{check.metric} is {seen.value:.4g}, above {check.max:g}"
    if check.max_drop is not None:
        return _compare(check.metric, check.max_drop, seen, seen.value, min_samples)
    return Verdict.PASS, f"{check.metric} is {seen.value:.4g} over {seen.samples} samples"


def _too_few(check: Check, seen: Measurement, value: float, min_samples: int) -> Said:
    # A rate that breaks its limit even if every sample still to come were good needs no more.
    if (
        check.metric == "error-rate"
        and check.max is not None
        and value * seen.samples > check.max * min_samples
    ):
        said = f"{check.metric} is {value:.4g} over {seen.samples} samples"
        rest = f"above {check.max:g} whatever the rest of the {min_samples} show"
        return Verdict.FAIL, f"{said}: {rest}"
    return (
        Verdict.INCONCLUSIVE,
        f"{check.metric} has {seen.samples} of {min_samples} samples",
    )


def _compare(
    metric: str, max_drop: float, seen: Measurement, value: float, min_samples: int
) -> Said:
    """Non-inferiority: the whole interval of the drop must be within ``max_drop``.

    The two versions answered different requests, so their errors are independent
    and the half-widths of their intervals add in squares (Newcombe 1998, method 10).
    """
    base = seen.baseline
    if base is None:
        return Verdict.INCONCLUSIVE, f"{metric} of the champion has no data"
    if not math.isfinite(base):
        return Verdict.ERROR, f"{metric} of the champion is {base}, which is no number"
    if seen.baseline_samples is not None and seen.baseline_samples < min_samples:
        return (
            Verdict.INCONCLUSIVE,
            f"{metric} of the champion has {seen.baseline_samples} of {min_samples} samples",
        )
    bounds = (seen.low, seen.high, seen.baseline_low, seen.baseline_high)
    if any(bound is not None and not math.isfinite(bound) for bound in bounds):
        return Verdict.ERROR, f"an interval of {metric} is no number"
    low, high = _or(seen.low, value), _or(seen.high, value)
    base_low, base_high = _or(seen.baseline_low, base), _or(seen.baseline_high, base)
    if _greater_is_better(metric):
        drop = base - value
        least = drop - math.hypot(high - value, base - base_low)
        most = drop + math.hypot(value - low, base_high - base)
    else:
        drop = value - base
        least = drop - math.hypot(value - low, base_high - base)
        most = drop + math.hypot(high - value, base - base_low)
    change = f"{abs(drop):.4g} {'better' if drop < 0 else 'worse'}"
    facts = f"{metric} {value:.4g} against the champion's {base:.4g}: {change}"
    within = f"(worse by {least:.4g} to {most:.4g}; at most {max_drop:g} is allowed)"
    if most <= max_drop:
        return Verdict.PASS, f"{facts} {within}"
    if least > max_drop:
        return Verdict.FAIL, f"{facts} {within}"
    return Verdict.INCONCLUSIVE, f"{facts} {within}; more samples will tell"


def _or(bound: float | None, value: float) -> float:
    return value if bound is None else bound


def _greater_is_better(metric: str) -> bool:
    known = METRICS.get(metric)
    return known is None or known.greater_is_better
