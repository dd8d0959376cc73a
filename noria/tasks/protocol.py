"""What every task family can do, and the values that its steps hand to each other.

Frames travel between steps as Parquet files, everything else as the JSON of
the structures here (``msgspec.json.encode`` and ``msgspec.json.decode``) or as
directories. Training, evaluation, serving and monitoring need no branch on
the family: a new family is one new module and one line in ``families``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import pandas as pd

    from noria.errors import Problem
    from noria.spec import ModelSpec
    from noria.tasks.package import Manifest


class Check(msgspec.Struct, frozen=True):
    """One rule that the rows were held against, and what was found."""

    name: str
    detail: str


class ValidationReport(msgspec.Struct, frozen=True):
    """The rules that the rows passed. A broken rule raises instead."""

    rows: int
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to fit on and rows held out; ``purged`` rows are in neither.

    A row is purged when it lies in the gap, or when its label was not yet
    known at the time of the first held-out row.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    purged: int = 0


class Trial(msgspec.Struct, frozen=True):
    """One set of hyperparameters that the search tried. ``value`` is None unless it completed."""

    number: int
    params: dict[str, Any]
    value: float | None
    state: str


class TuneResult(msgspec.Struct, frozen=True):
    """The hyperparameters to train with; ``best`` is their cross-validated metric, if searched."""

    params: dict[str, Any]
    trials: tuple[Trial, ...] = ()
    best: float | None = None
    metric: str = ""


class MetricValue(msgspec.Struct, frozen=True):
    """A metric on held-out rows with its two-sided confidence interval.

    ``value`` is None when the metric is not defined on the rows (an AUC of one
    class); ``problem`` then says why.
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    samples: int = 0
    confidence: float = 0.95
    method: str = ""
    problem: str = ""


class Comparison(msgspec.Struct, frozen=True):
    """Candidate against champion on the same held-out rows.

    ``difference`` is oriented: positive means that the candidate is better,
    also for losses. ``low`` and ``high`` are one-sided bounds, each of which
    holds with probability ``confidence``.
    """

    metric: str
    samples: int
    confidence: float
    candidate: float | None = None
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    problem: str = ""


class GateRecord(msgspec.Struct, frozen=True):
    """The outcome of one gate: pass, fail, inconclusive or error. Fields as ``GateResult``."""

    name: str
    verdict: str
    detail: str
    value: float | None
    bound: float | None
    samples: int


class Evaluation(msgspec.Struct, frozen=True):
    """How good a model is on held-out rows, and what its gates say.

    ``baseline`` holds the same metrics of the linear model that is always
    fitted first; ``plots`` are file names in the plots directory.
    """

    rows: int
    metrics: dict[str, MetricValue]
    baseline: dict[str, MetricValue]
    comparisons: tuple[Comparison, ...] = ()
    gates: tuple[GateRecord, ...] = ()
    plots: tuple[str, ...] = ()


class Fitted(Protocol):
    """A model in memory, between ``train`` and ``save``. What is in it is the family's own."""

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        ...


class TaskFamily(Protocol):
    """The functions of a task family, in the order in which a pipeline calls them."""

    def check(self, spec: ModelSpec) -> list[Problem]:
        """Return what is wrong with ``spec`` for this family; empty when it can be trained."""
        ...

    def distributes(self, spec: ModelSpec) -> bool:
        """Whether ``train`` divides its work when ``torch.distributed`` is set up around it.

        On several nodes every process then calls ``train``, and rank 0 alone ``save``.
        """
        ...

    def request_columns(self, spec: ModelSpec) -> list[str]:
        """Return the names of the columns that a client sends, in order."""
        ...

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """Return the labelled rows that were known at ``as_of``, without looked-up features.

        ``base`` is the folder of model.yaml. Without ``as_of`` all rows count.

        Raises:
            DataError: Files or columns are missing or can't be read.
            LeakageError: A row's event lies after ``as_of`` although its label does not.
        """
        ...

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        """Hold rows against the spec's rules and look for leakage.

        Raises:
            DataError: A rule is broken.
            LeakageError: The rows know something that a request can't know.
        """
        ...

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with looked-up features (as of each row's event) and time features."""
        ...

    def split(self, spec: ModelSpec, frame: pd.DataFrame) -> Split:
        """Hold rows out, as ``spec.data.split`` says.

        Raises:
            DataError: Too few rows for a split.
            LeakageError: The same entity would be on both sides.
        """
        ...

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """Search hyperparameters by cross-validation; carries on where a killed search was."""
        ...

    def train(self, spec: ModelSpec, train: pd.DataFrame, params: dict[str, Any]) -> Any:
        """Fit the baseline, then the model; a ``Fitted``. Same rows and seed, same model."""
        ...

    def evaluate(
        self,
        spec: ModelSpec,
        model: Any,
        test: pd.DataFrame,
        champion: Path | None,
        plots_dir: Path | None,
    ) -> Evaluation:
        """Measure a ``Fitted`` or a package's directory on held-out rows, and judge its gates."""
        ...

    def save(self, spec: ModelSpec, fitted: Any, package: Path, *, model: str = "") -> Manifest:
        """Write the model package; ``model`` is the resource's name, which a spec does not know."""
        ...

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        train: pd.DataFrame,
        test: pd.DataFrame,
        out_dir: Path,
    ) -> None:
        """Write the monitoring reference: rows seen in training, predictions on held-out rows.

        ``package`` is the model as it was evaluated: fitted on ``train`` alone.
        After a refit on all rows, the held-out rows would flatter it.
        """
        ...
