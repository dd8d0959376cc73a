"""What a training run hands to the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from noria.loop.values import GateResult, Verdict
from noria.served.used import ServedRows
from noria.tasks.protocol import Evaluation


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained and evaluated model that wants a version.

    ``run_id`` makes registration idempotent: registering it again returns the
    version it already has. ``champion`` is the version that the gates were
    measured against, ``rows`` the number of rows that the packaged model was
    fitted on, ``fingerprint`` a sha256 of the data, ``spec`` the model resource
    as JSON, ``example`` one row as a client would send it, ``cautions`` what should be
    known of the family's options, ``served`` which of the rows were served.
    """

    model: str
    run_id: str
    package: Path
    reference: Path
    evaluation: Evaluation
    rows: int
    champion: str | None
    as_of: datetime
    fingerprint: str
    code_version: str
    reason: str = ""
    plots: Path | None = None
    spec: str = ""
    params: Mapping[str, Any] = field(default_factory=_empty)
    example: Mapping[str, Any] = field(default_factory=_empty)
    cautions: tuple[str, ...] = ()
    served: ServedRows | None = None

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """The gates as the loop reads them."""
        return tuple(
            GateResult(
                name=gate.name,
                verdict=Verdict(gate.verdict),
                detail=gate.detail,
                value=gate.value,
                bound=gate.bound,
                samples=gate.samples,
                low=gate.low,
                high=gate.high,
                worth=gate.worth,
            )
            for gate in self.evaluation.gates
        )

    @property
    def metrics(self) -> dict[str, float | None]:
        """The value of each metric on held-out rows, and how it compares with the champion's.

        ``vs_champion.METRIC`` is the difference (positive: the candidate is better) on
        the rows that neither has seen, with ``.low`` and ``.high``.
        """
        found = {name: item.value for name, item in self.evaluation.metrics.items()}
        for item in self.evaluation.comparisons:
            name = f"vs_champion.{item.metric}"
            found |= {name: item.difference, f"{name}.low": item.low, f"{name}.high": item.high}
        return found
