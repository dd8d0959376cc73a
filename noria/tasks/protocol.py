"""What every task family can do, and the values that its steps hand to each other.

Frames travel between steps as Parquet files, everything else as the JSON of
the structures here (``msgspec.json.encode`` and ``msgspec.json.decode``) or as
directories. Training, evaluation, serving and monitoring need no branch on
the family. What a family says about itself, and how it is found, is
``noria.spec.family`` and ``noria.spec.families``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from noria.measures.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.spec import ModelSpec
    from noria.tasks.held_out import HeldOut
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
    known at the time of the first held-out row. Both keep their index: the
    place of each row in the frame that was split.
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
    low: float | None = None
    high: float | None = None
    worth: float | None = None


class Tried(msgspec.Struct, frozen=True):
    """A recipe against the first one on the judged rows; positive: it is better.

    ``low`` is a one-sided bound. It was better in ``won`` of ``blocks`` blocks.
    """

    recipe: str
    metric: str
    difference: float | None
    low: float | None
    won: int
    blocks: int


class Choice(msgspec.Struct, frozen=True):
    """The recipe that is served, and how the others did against the first one.

    ``blocks`` is how many the judged rows were cut into.
    ``worth`` is what more rows bring here: the gain over the same fitted on few of the oldest
    rows, in its standard errors; None where that is not known.
    """

    recipe: str = ""
    blocks: int = 1
    tried: tuple[Tried, ...] = ()
    worth: float | None = None


class Evaluation(msgspec.Struct, frozen=True):
    """How good a recipe is on held-out rows, and what its gates say.

    ``baseline`` holds the same metrics of the family's simple model, fitted
    before all of them; ``plots`` are file names in the plots directory. ``notes`` are what the
    family says of the judged fit, a sentence each; the card has them. ``row_seconds`` is what
    one sample alone took to predict, the median; None where nobody measured it.
    """

    rows: int
    metrics: dict[str, Measurement]
    baseline: dict[str, Measurement]
    comparisons: tuple[Comparison, ...] = ()
    gates: tuple[GateRecord, ...] = ()
    plots: tuple[str, ...] = ()
    choice: Choice = Choice()
    notes: tuple[str, ...] = ()
    row_seconds: float | None = None


class Fitted(Protocol):
    """A model in memory, between ``fit`` and ``save``. What is in it is the family's own."""

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Rows as they are asked about, with their labels.

    ``rows`` have the columns that a client sends, and a column of numbers for each of ``targets``,
    NaN where a label is not known. ``known`` (n,) is when the last one that is was, milliseconds
    since 1970 UTC.
    """

    rows: pd.DataFrame
    targets: tuple[str, ...]
    known: NDArray[np.int64]


@runtime_checkable
class Asking(Protocol):
    """A task family whose requests are not the rows that it ingests."""

    def requests(self, spec: ModelSpec, rows: pd.DataFrame, start: float, end: float) -> Requests:
        """Return what would have been asked in [start, end), milliseconds, of ingested rows."""
        ...


@runtime_checkable
class Continuing(Protocol):
    """A task family whose next version keeps something of the one before it, such as names."""

    def continued(self, spec: ModelSpec, fitted: Any, package: Path) -> Any:
        """Return what ``fit`` returned as the version after the package's.

        The package is the champion's or, of the first version, that of the fit that was judged.
        """
        ...


@runtime_checkable
class Choosing(Protocol):
    """A task family whose ``tune`` may find something without a search, such as rounds."""

    def chooses(self, spec: ModelSpec) -> bool:
        """Say whether it does so for a spec without a search."""
        ...


@runtime_checkable
class ByColumn(Protocol):
    """A task family whose steps need not hold all rows at once."""

    def by_column(self, spec: ModelSpec) -> bool:
        """Say whether the steps take ``noria.tasks.sources.stored.StoredRows`` for a frame.

        All but ``ingest``, ``evaluate`` and ``compare`` then ask them for columns by name, and
        for rows by their places.
        """
        ...


class TaskFamily(Protocol):
    """The functions of a task family, in the order in which a pipeline calls them."""

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

    def split(self, spec: ModelSpec, frame: pd.DataFrame, champion: Path | None) -> Split:
        """Hold rows out to judge on.

        With a champion's package and a temporal split they are the newest of the rows that it
        was not fitted on (``noria.tasks.judging``); otherwise as ``spec.data.split`` says.

        Raises:
            DataError: Too few rows for a split.
            LeakageError: The same entity would be on both sides.
        """
        ...

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """Search hyperparameters by cross-validation; carries on where a killed search was."""
        ...

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> Any:
        """Return rows as ``fit`` and ``predict`` read them, made once for many fits."""
        ...

    def fit(
        self,
        spec: ModelSpec,
        prepared: Any,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> Any:
        """Fit on the rows at ``places``; a ``Fitted``. Same rows, weights and seed, same model.

        ``weight`` (as many as places, of mean 1) is how much each row counts; None: the same.
        """
        ...

    def with_rounds(
        self, spec: ModelSpec, params: Mapping[str, Any], times: float
    ) -> dict[str, Any] | None:
        """Return ``params`` with so many times the algorithm's default rounds of boosting.

        None where it has none, or where they were chosen: by the user or by a search.
        """
        ...

    def fit_baseline(self, spec: ModelSpec, prepared: Any, places: NDArray[np.int64]) -> Any | None:
        """Fit the simple model that the metrics are shown beside; None when there is none."""
        ...

    def predict(
        self, spec: ModelSpec, model: Any, prepared: Any, places: NDArray[np.int64]
    ) -> pd.DataFrame:
        """Return what a ``Fitted`` or a package's directory says of the rows at ``places``."""
        ...

    def compare(
        self,
        spec: ModelSpec,
        prepared: Any,
        places: NDArray[np.int64],
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: NDArray[np.int64] | None = None,
    ) -> Comparison:
        """Compare two predictions of the rows at ``places`` by the family's first metric.

        ``block`` (as many as places) numbers the rows that one fit predicted; None: all of them.
        """
        ...

    def evaluate(
        self,
        spec: ModelSpec,
        candidate: Path,
        test: pd.DataFrame,
        held_out: HeldOut,
        champion: Path | None,
        plots_dir: Path | None,
    ) -> Evaluation:
        """Measure predictions of held-out rows, and judge the gates.

        ``candidate`` is the package that predicted the last block, for the plots.
        """
        ...

    def save(
        self, spec: ModelSpec, fitted: Any, package: Path, *, model: str = "", recipe: str = ""
    ) -> Manifest:
        """Write the model package.

        ``model`` is the resource's name, which a spec does not know; ``recipe`` names the recipe.
        """
        ...

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: HeldOut,
        out_dir: Path,
    ) -> None:
        """Write the monitoring reference of the package that is served.

        What its rows look like comes from ``frame``, which it was fitted on; predictions and
        performance are the recipe's on held-out rows.
        """
        ...
