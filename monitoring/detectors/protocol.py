"""What every detector takes and gives, whatever its backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from monitoring.table import Table


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """How one detector is built.

    Attributes:
        name: unique among the model's detectors; a label of its metrics.
        kind: ``ks``, ``chi-square``, ``fisher``, ``tabular``, ``mmd``, ``lsdd``, ``classifier``,
            ``model-uncertainty``, ``online-mmd`` or ``online-cvm``.
        backend: ``native`` or ``alibi``.
        columns: the columns it watches; empty is every column that suits its kind.
        alpha: the probability of a false alarm in one window.
        window_rows: rows in one window; online detectors turn ``alpha`` into a run time with it.
        options: what only this kind understands.
    """

    name: str
    kind: str
    backend: str = "native"
    columns: tuple[str, ...] = ()
    alpha: float = 0.05
    window_rows: int = 1000
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeatureResult:
    """One column's share in a result. ``p_value`` is not corrected for the number of columns.

    Attributes:
        name: of the column.
        test: ``ks``, ``chi-square``, ``fisher`` or ``cvm``.
        statistic: of the test.
        p_value: 0 to 1.
        effect: how big the change is.
        rows: of the reference and of the window that were tested.
        freedom: degrees of freedom of a chi-square test.
        design: the design effect that ``p_value`` allows for; 1: rows are independent.
    """

    name: str
    test: str
    statistic: float
    p_value: float
    effect: float
    rows: tuple[int, int] = (0, 0)
    freedom: int = 0
    design: float = 1.0


@dataclass(frozen=True, slots=True)
class DetectorResult:
    """What a detector says about one window.

    Attributes:
        statistic: the test statistic (of the column with the smallest p-value, if per column).
        p_value: corrected for the number of columns; None where the test has none (online).
        threshold: ``p_value`` at or under it is drift; for an online detector, what
            ``statistic`` must exceed.
        drift: whether this window is called a drift.
        effect: how big the change is, whatever the number of rows (see each detector).
        features: per column, smallest p-value first; empty for a joint test.
        samples: rows in the window.
        design: the design effect that ``p_value`` allows for (of the column with the smallest
            p-value, if per column); 1: rows are independent.
    """

    statistic: float
    p_value: float | None
    threshold: float
    drift: bool
    effect: float
    features: tuple[FeatureResult, ...]
    samples: int
    design: float = 1.0


@runtime_checkable
class Detector(Protocol):
    """A fitted detector: scores windows against the reference it was built from."""

    @property
    def config(self) -> DetectorConfig:
        """How it was built."""
        ...

    def score(self, window: Table) -> DetectorResult:
        """Compare one window (any number of rows) with the reference."""
        ...

    def save(self, folder: Path) -> None:
        """Write the fitted detector into ``folder``; ``load_detector`` reads it back."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A detector whose next answer depends on the windows it has seen."""

    def state(self) -> bytes:
        """Return everything that the windows so far have changed."""
        ...

    def restore(self, state: bytes) -> None:
        """Go back to what ``state()`` returned."""
        ...
