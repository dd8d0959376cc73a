"""Judging what a candidate's traffic shows, one check at a time.

Four-valued: only evidence passes. No data, too few samples, samples that can't
bound the metric, or a comparison whose interval still straddles the limit is
inconclusive, and says what is missing; a source that fails or a number that is
none is an error.
"""

from __future__ import annotations

import math

from noria.loop.state import Judged
from noria.loop.values import Compared, Verdict
from noria.measures.catalog import Metric
from noria.measures.independent import drop
from noria.spec.serving import Check

Said = tuple[Verdict, str]


def judge(
    check: Check, metric: Metric, measurement: Compared | None, version: str, min_samples: int
) -> Judged:
    """Judge one check of ``spec.serving.canary.analysis``.

    Args:
        check: The limits.
        metric: That of the check, for its direction.
        measurement: What was measured; None when it was not.
        version: The candidate.
        min_samples: Samples without which there is no verdict.
    """
    if measurement is None:
        measurement = Compared(check.metric, version, None, 0)
    verdict, detail = _judge(check, metric, measurement, min_samples)
    return Judged(measurement, verdict, rule(check), detail)


def smoke(
    check: Check, metric: Metric, measurement: Compared | None, version: str, rows: int
) -> Judged:
    """Judge one check on the few rows of a smoke test: what is shown fails, the rest is unknown.

    Args:
        check: The limits.
        metric: As in ``judge``.
        measurement: What was measured; None when it was not.
        version: The candidate.
        rows: How many the smoke test has; too few to prove anything.
    """
    found = judge(check, metric, measurement, version, rows)
    seen = found.measurement
    # On a few rows one failure is over any limit: only an interval that is all beyond it shows.
    may_hold = (check.max is not None and seen.low is not None and seen.low <= check.max) or (
        check.min is not None and seen.high is not None and seen.high >= check.min
    )
    if found.verdict is Verdict.FAIL and may_hold:
        said = f"{found.detail}, which {seen.samples} samples can't show"
        return Judged(seen, Verdict.INCONCLUSIVE, found.rule, said)
    return found


def rows_answered(measurement: Compared | None, version: str, min_samples: int) -> Judged:
    """Judge only that enough rows were answered: the error rate's samples without its errors."""
    seen = measurement or Compared("error-rate", version, None, 0)
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


def _judge(check: Check, metric: Metric, seen: Compared, min_samples: int) -> Said:
    if check.min is None and check.max is None and check.max_drop is None:
        return Verdict.ERROR, f"{check.metric} has no limit to be judged by"
    if seen.problem:
        return Verdict.ERROR, f"{check.metric} can't be measured: {seen.problem}"
    if seen.value is None:
        return Verdict.INCONCLUSIVE, f"{check.metric} {seen.lacking or 'has no data'}"
    if not math.isfinite(seen.value):
        return Verdict.ERROR, f"{check.metric} is {seen.value}, which is no number"
    if seen.samples < min_samples:
        return _too_few(check, seen, seen.value, min_samples)
    if seen.lacking:
        return Verdict.INCONCLUSIVE, f"{check.metric} {seen.lacking}"
    if check.min is not None and seen.value < check.min:
        return Verdict.FAIL, f"{check.metric} is {seen.value:.4g}, below {check.min:g}"
    if check.max is not None and seen.value > check.max:
        return Verdict.FAIL, f"{check.metric} is {seen.value:.4g}, above {check.max:g}"
    if check.max_drop is not None:
        return _compare(metric, check.max_drop, seen, seen.value, min_samples)
    return Verdict.PASS, f"{check.metric} is {seen.value:.4g} over {seen.samples} samples"


def _too_few(check: Check, seen: Compared, value: float, min_samples: int) -> Said:
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
    metric: Metric, max_drop: float, seen: Compared, value: float, min_samples: int
) -> Said:
    """Non-inferiority: the whole interval of the drop must be within ``max_drop``.

    The two versions answered different requests, so their errors are independent.
    """
    name, base = metric.name, seen.baseline
    if base is None:
        lacks = seen.baseline_lacking or "has no data"
        return Verdict.INCONCLUSIVE, f"{name} of the champion {lacks}"
    if not math.isfinite(base):
        return Verdict.ERROR, f"{name} of the champion is {base}, which is no number"
    if seen.baseline_samples is not None and seen.baseline_samples < min_samples:
        return (
            Verdict.INCONCLUSIVE,
            f"{name} of the champion has {seen.baseline_samples} of {min_samples} samples",
        )
    if seen.baseline_lacking:
        return Verdict.INCONCLUSIVE, f"{name} of the champion {seen.baseline_lacking}"
    low, high, base_low, base_high = seen.low, seen.high, seen.baseline_low, seen.baseline_high
    bounds = (low, high, base_low, base_high)
    if any(bound is not None and not math.isfinite(bound) for bound in bounds):
        return Verdict.ERROR, f"an interval of {name} is no number"
    if low is None or high is None or base_low is None or base_high is None:
        return Verdict.INCONCLUSIVE, f"{name} has no interval to compare by"
    worse, least, most = drop(
        value,
        (low, high),
        base,
        (base_low, base_high),
        greater_is_better=metric.greater_is_better,
    )
    change = f"{abs(worse):.4g} {'better' if worse < 0 else 'worse'}"
    facts = f"{name} {value:.4g} against the champion's {base:.4g}: {change}"
    within = f"(worse by {least:.4g} to {most:.4g}; at most {max_drop:g} is allowed)"
    if most <= max_drop:
        return Verdict.PASS, f"{facts} {within}"
    if least > max_drop:
        return Verdict.FAIL, f"{facts} {within}"
    return Verdict.INCONCLUSIVE, f"{facts} {within}; more samples will tell"
