"""A candidate beside the champion: by which gate, and what is said where there is no comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from noria.errors import NoriaError
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.judging import CONFIDENCE
from noria.tasks.protocol import Comparison


def recipe_gate(spec: ModelSpec) -> ChampionGate:
    """Return the gate that recipes are compared by: the family's first metric."""
    return ChampionGate(metric=spec.family.default_metric, confidence=CONFIDENCE)


def against(
    champion: Path | None, compare: Callable[[Path], tuple[Comparison, ...]]
) -> tuple[tuple[Comparison, ...], str]:
    """Return the comparisons with a champion's package, and why it could not be asked, if so.

    Args:
        champion: The package; None: there is none.
        compare: Compares with it.
    """
    if champion is None:
        return (), ""
    try:
        return compare(champion), ""
    except NoriaError as error:
        return (), f"the champion can't be asked: {error}"


def not_compared(spec: ModelSpec, problem: str) -> tuple[Comparison, ...]:
    """Return for each champion gate that there is nothing to compare on, and why."""
    return tuple(
        Comparison(gate.metric, 0, gate.confidence, problem=problem) for gate in spec.gates.champion
    )
