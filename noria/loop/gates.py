"""Whether a candidate may take traffic at all: its gates, measured once on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence

from noria.loop.turn import name
from noria.loop.values import GateResult, Verdict, finite
from noria.spec import ModelSpec


def verdict_of(gate: GateResult, min_rows: int) -> Verdict:
    """Return a gate's verdict, never ``PASS`` on too few rows or on a value that is no number."""
    if gate.verdict is not Verdict.PASS:
        return gate.verdict
    if gate.value is not None and finite(gate.value) is None:
        return Verdict.ERROR
    return Verdict.PASS if gate.samples >= min_rows else Verdict.INCONCLUSIVE


def objections(
    spec: ModelSpec, gates: Sequence[GateResult], measured_against: str | None, champion: str | None
) -> list[str]:
    """Return every reason why a candidate may not take traffic; none means that it may.

    Args:
        spec: What gates there must be.
        gates: What was measured.
        measured_against: The champion that the gates compared with.
        champion: The champion now.
    """
    if measured_against != champion:
        against, now = name(measured_against), name(champion)
        return [f"its gates were measured against {against}, but the champion is {now}"]
    said = [
        f"gate {gate.name}: {verdict}" + (f" ({gate.detail})" if gate.detail else "")
        for gate in gates
        if (verdict := verdict_of(gate, spec.gates.min_rows)) is not Verdict.PASS
    ]
    # A gate that was not measured was not passed. A comparison needs somebody to compare with.
    needed = len(spec.gates.bounds) + (len(spec.gates.champion) if champion is not None else 0)
    if len(gates) < needed:
        said.append(f"only {len(gates)} of its {needed} gates were measured")
    return said
