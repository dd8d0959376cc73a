"""Judging a candidate: pass, fail, inconclusive or error; nothing unknown ever passes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from noria.measures.measurement import Measurement
from noria.spec import Bound, ChampionGate, Gates
from noria.spec.gates import AUTO
from noria.tasks.judging import EDGE, ERRORS, FEW, FIXED_UNIT, FLOOR, FLOOR_SHARE, WIDEST
from noria.tasks.protocol import Choice, Comparison, GateRecord

PASS: Final = "pass"  # noqa: S105 - a verdict
FAIL: Final = "fail"
INCONCLUSIVE: Final = "inconclusive"
ERROR: Final = "error"
_NO_CHOICE: Final = Choice()


def judge(
    gates: Gates,
    metrics: Mapping[str, Measurement],
    comparisons: Sequence[Comparison],
    broken_champion: str = "",
    choice: Choice = _NO_CHOICE,
) -> tuple[GateRecord, ...]:
    """Return the outcome of every gate.

    Args:
        gates: The spec's.
        metrics: The candidate's, on all held-out rows.
        comparisons: One per champion gate, or none when there is no champion.
        broken_champion: Why the champion could not be asked, if so.
        choice: The recipe, for the text.
    """
    records = []
    for bound in gates.bounds:
        if bound.min is not None:
            records.append(_bound(bound, bound.min, 1.0, metrics.get(bound.metric), gates))
        if bound.max is not None:
            records.append(_bound(bound, bound.max, -1.0, metrics.get(bound.metric), gates))
    if broken_champion:
        records.extend(
            GateRecord(_name(gate.metric), ERROR, broken_champion, None, None, 0)
            for gate in gates.champion
        )
    else:
        records.extend(
            _against(gate, comparison, gates.min_rows, choice)
            for gate, comparison in zip(gates.champion, comparisons, strict=False)
        )
    return tuple(records)


def _bound(
    bound: Bound, limit: float, sign: float, found: Measurement | None, gates: Gates
) -> GateRecord:
    side = "min" if sign > 0 else "max"
    name = f"{bound.metric}-{side}"
    if found is None:
        detail = f"{bound.metric} was not measured"
        return GateRecord(name, ERROR, detail, None, limit, 0)
    if found.samples < gates.min_rows:
        detail = _too_few(found.samples, gates.min_rows)
        return GateRecord(name, INCONCLUSIVE, detail, found.value, limit, found.samples)
    if found.value is None or found.problem:
        detail = f"{bound.metric} {found.problem or 'has no value'}"
        return GateRecord(name, INCONCLUSIVE, detail, found.value, limit, found.samples)
    verdict = PASS if sign * (found.value - limit) >= 0 else FAIL
    interval = "" if found.low is None else f" ({found.low:.4g} to {found.high:.4g})"
    relation = {("min", PASS): "at least", ("max", PASS): "at most"}.get(
        (side, verdict), "under" if side == "min" else "over"
    )
    detail = f"{bound.metric} {found.value:.4g}{interval} is {relation} {limit:g}"
    return GateRecord(name, verdict, detail, found.value, limit, found.samples)


def _against(gate: ChampionGate, found: Comparison, min_rows: int, choice: Choice) -> GateRecord:
    """Not worse by the margin, with confidence, and better by estimate: pass.

    Shown to be worse than the champion: fail. Neither: inconclusive, and what is missing.
    """
    name, gain = _name(found.metric), found.difference
    if gain is None or found.low is None or found.high is None:
        detail = f"{found.metric} {found.problem}" if found.samples else found.problem
        return GateRecord(name, INCONCLUSIVE, detail, gain, None, found.samples)
    margin = Margin.of(gate, found)
    least = gate.min_gain + (EDGE * _error(found) if gate.max_drop == AUTO else 0.0)
    limit = 0.0 - margin.allowed  # never the negative zero of -0.0
    lacks = ""
    if found.samples < min_rows:
        lacks = f"{_too_few(found.samples, min_rows)} that the champion has not seen"
    elif found.high < 0.0 and not (found.low >= limit and gain > least):
        lacks = "it is shown to be worse"
    elif gain <= least:
        lacks = f"the estimate is no better: it must be over {least:.4g}"
    elif found.low < limit:
        rows = _rows_for(found, margin.allowed)
        lacks = f"the lower bound must be at least {limit:+.4g}" + (
            f": about {rows:,} such rows would tell" if rows else ""
        )
    if not lacks:
        verdict = PASS
    elif found.samples >= min_rows and found.high < 0.0:
        verdict = FAIL
    else:
        verdict = INCONCLUSIVE
    detail = (
        f"{found.metric} {found.candidate:.4g} against the champion's {found.champion:.4g}: "
        f"better by {gain:+.4g}, from {found.low:+.4g} to {found.high:+.4g} "
        f"(each bound at {found.confidence:g}); {lacks or f'may be worse by {margin.text}'}"
    )
    if choice.recipe:
        detail += f"; training rows: {choice.recipe}"
    if choice.worth is not None:
        detail += f"; {1 / FEW:g} times the rows brought {choice.worth:+.1f} standard errors"
    return GateRecord(
        name, verdict, detail, gain, limit, found.samples, found.low, found.high, choice.worth
    )


@dataclass(frozen=True, slots=True)
class Margin:
    """How much worse a candidate may be, in the metric's unit, and how that came about."""

    allowed: float
    text: str

    @classmethod
    def of(cls, gate: ChampionGate, found: Comparison) -> Margin:
        """Return the margin of a gate for a comparison that has bounds."""
        drop = gate.max_drop
        if isinstance(drop, float):
            return cls(drop, f"{drop:g}")
        champion = abs(found.champion or 0.0)
        if drop != AUTO:
            allowed = float(drop.removesuffix("%")) / 100.0 * champion
            return cls(allowed, f"{allowed:.4g}, {drop} of the champion's")
        floor = FLOOR if gate.metric in FIXED_UNIT else FLOOR_SHARE * champion
        resolved = ERRORS * _error(found)
        allowed = min(max(floor, resolved), WIDEST * floor)
        why = "" if allowed == floor else f", {allowed / floor:.1f} times the floor of {floor:.4g}"
        return cls(allowed, f"{allowed:.4g}{why}")


def _error(found: Comparison) -> float:
    """Return the standard error of the difference, from its bounds."""
    low, high = found.low or 0.0, found.high or 0.0
    return (high - low) / 2.0 / NormalDist().inv_cdf(found.confidence)


def _rows_for(found: Comparison, margin: float) -> int:
    """Return how many rows would bring the lower bound inside, if the gain stays; 0: never."""
    room = margin + (found.difference or 0.0)
    if room <= 0.0 or found.low is None or found.difference is None:
        return 0
    rows = found.samples * ((found.difference - found.low) / room) ** 2
    return math.ceil(rows / 10.0) * 10


def _name(metric: str) -> str:
    return f"{metric}-champion"


def _too_few(rows: int, needed: int) -> str:
    return f"{rows} held-out rows, and spec.gates.minRows asks for {needed}"
