"""Judging a candidate: pass, fail, inconclusive or error; nothing unknown ever passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from noria.spec import Bound, Gates
from noria.tasks.protocol import Comparison, GateRecord, MetricValue

PASS: Final = "pass"  # noqa: S105 - a verdict
FAIL: Final = "fail"
INCONCLUSIVE: Final = "inconclusive"
ERROR: Final = "error"


def judge(
    gates: Gates,
    metrics: Mapping[str, MetricValue],
    comparisons: Sequence[Comparison],
    broken_champion: str = "",
) -> tuple[GateRecord, ...]:
    """Return the outcome of every gate.

    Args:
        gates: The spec's.
        metrics: The candidate's, on all held-out rows.
        comparisons: One per champion gate, or none when there is no champion.
        broken_champion: Why the champion could not be asked, if so.
    """
    records = []
    for bound in gates.bounds:
        if bound.min is not None:
            records.append(_bound(bound, bound.min, 1.0, metrics.get(bound.metric), gates))
        if bound.max is not None:
            records.append(_bound(bound, bound.max, -1.0, metrics.get(bound.metric), gates))
    if broken_champion:
        records.extend(
            GateRecord(_name(gate.metric), ERROR, broken_champion, None, 0.0 - gate.max_drop, 0)
            for gate in gates.champion
        )
    else:
        records.extend(
            _against(comparison, gate.max_drop, gates.min_rows)
            for gate, comparison in zip(gates.champion, comparisons, strict=False)
        )
    return tuple(records)


def _bound(
    bound: Bound, limit: float, sign: float, found: MetricValue | None, gates: Gates
) -> GateRecord:
    side = "min" if sign > 0 else "max"
    name = f"{bound.metric}-{side}"
    if found is None:
        detail = f"{bound.metric} was not measured"
        return GateRecord(name, ERROR, detail, None, limit, 0)
    if found.samples < gates.min_rows:
        detail = _too_few(found.samples, gates.min_rows)
        return GateRecord(name, INCONCLUSIVE, detail, found.value, limit, found.samples)
    if found.value is None:
        return GateRecord(name, INCONCLUSIVE, found.problem, None, limit, found.samples)
    verdict = PASS if sign * (found.value - limit) >= 0 else FAIL
    interval = "" if found.low is None else f" ({found.low:.4g} to {found.high:.4g})"
    relation = {("min", PASS): "at least", ("max", PASS): "at most"}.get(
        (side, verdict), "under" if side == "min" else "over"
    )
    detail = f"{bound.metric} {found.value:.4g}{interval} is {relation} {limit:g}"
    return GateRecord(name, verdict, detail, found.value, limit, found.samples)


def _against(found: Comparison, max_drop: float, min_rows: int) -> GateRecord:
    """Shown to hold: pass. Shown not to hold: fail. Neither shown: inconclusive."""
    name = _name(found.metric)
    limit = 0.0 - max_drop  # never the negative zero of -0.0
    if found.samples < min_rows:
        detail = _too_few(found.samples, min_rows) + " that the champion has not seen"
        return GateRecord(name, INCONCLUSIVE, detail, found.difference, limit, found.samples)
    if found.difference is None or found.low is None or found.high is None:
        detail = found.problem or f"{found.metric} has no interval"
        return GateRecord(name, INCONCLUSIVE, detail, found.difference, limit, found.samples)
    if found.low >= limit:
        verdict = PASS
    elif found.high < limit:
        verdict = FAIL
    else:
        verdict = INCONCLUSIVE
    detail = (
        f"{found.metric} {found.candidate:.4g} against the champion's {found.champion:.4g}: "
        f"better by {found.difference:+.4g}, from {found.low:+.4g} to {found.high:+.4g} "
        f"(each bound at {found.confidence:g}); needs at least {limit:+g}"
    )
    return GateRecord(name, verdict, detail, found.difference, limit, found.samples)


def _name(metric: str) -> str:
    return f"{metric}-champion"


def _too_few(rows: int, needed: int) -> str:
    return f"{rows} held-out rows, and spec.gates.minRows asks for {needed}"
