"""What the served versions said about replayed rows: columns, a Parquet file, metrics.

Nothing here knows a family: an output is a column, and one of several classes a column a class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from noria.errors import NoriaError
from noria.measures.catalog import Metric
from noria.replay import Answer, History
from noria.spec import Family, ModelSpec
from noria.tasks.package import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

_BINARY: Final = 2
_HALF: Final = 0.5
Manifests = Callable[[str], Manifest]


@dataclass(frozen=True, slots=True)
class Summary:
    """How good the answers were. ``rows`` were answered, ``measured`` counts in ``metrics``.

    ``seen`` rows were answered by a version that had been fitted on them, ``unknown`` rows have a
    label that is no class of the version that answered: neither is measured. ``versions`` says how
    many rows each answered. A metric that is not defined on the rows is None.
    """

    rows: int
    measured: int
    seen: int
    unknown: int
    versions: Mapping[str, int]
    metrics: Mapping[str, float | None]


class Answers:
    """Collects what was answered about a history's n rows, whichever version did."""

    def __init__(self, history: History, manifests: Manifests) -> None:
        """Start with no row answered; ``manifests`` returns that of a version's package."""
        self._history = history
        self._manifests = manifests
        self._known: dict[str, Manifest] = {}
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._version = np.full(len(history), None, dtype=object)
        self._answered = np.zeros(len(history), dtype=bool)
        self._seen = np.zeros(len(history), dtype=bool)

    @property
    def version(self) -> npt.NDArray[Any]:
        """Which version answered each row, (n,); None where none did."""
        return self._version

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Whether the version that answered a row had been fitted on it, (n,)."""
        return self._seen

    @property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """The outputs by name, (n,) each; of one with k classes or targets ``NAME.CLASS``."""
        return self._columns

    def take(self, rows: slice, answer: Answer) -> None:
        """Keep the answer about some rows."""
        manifest = self.manifest(answer.version)
        self._version[rows] = answer.version
        self._answered[rows] = True
        until = manifest.trained_until
        if until is not None:
            self._seen[rows] = self._history.event_ms[rows] <= until
        for name, values in _flat(answer.outputs, manifest):
            if name not in self._columns:
                empty = np.nan if values.dtype.kind == "f" else None
                kind = np.float64 if values.dtype.kind == "f" else object
                self._columns[name] = np.full(len(self._history), empty, dtype=kind)
            self._columns[name][rows] = values

    def manifest(self, version: str) -> Manifest:
        """Return the manifest of a version's package, read once."""
        if version not in self._known:
            self._known[version] = self._manifests(version)
        return self._known[version]

    def summary(self, spec: ModelSpec) -> Summary:
        """Measure the answers by the family's metrics, on the rows that were not seen."""
        from noria.measures.measuring import decided, measure

        answered = self._answered
        versions, counts = np.unique(self._version[answered].astype(str), return_counts=True)
        truth, score = self.scored()
        known = is_whole(truth) & answered
        fresh = known & ~self._seen
        limits = self._limits(score)
        metrics = {
            metric.name: measure(
                metric,
                truth[fresh],
                decided(metric, self.as_read(metric, score, spec.family)[fresh], limits[fresh]),
            ).value
            for metric in spec.watched_metrics
        }
        return Summary(
            rows=int(answered.sum()),
            measured=int(fresh.sum()),
            seen=int((self._seen & answered).sum()),
            unknown=int((answered & ~known).sum()) if self._history.labelled else 0,
            versions=dict(zip(versions.tolist(), counts.tolist(), strict=True)),
            metrics=metrics,
        )

    def scored(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return labels and scores as ``noria.measures`` takes them: (n,), and (n,) or (n, k).

        Of k named targets both are (n, k); a row that lacks a label or an answer of one has NaN
        for all of its labels. Of classes the labels are codes, the k classes those that any version
        knew. NaN is the label of a class that the version that answered did not know, or of a row
        without answer.
        """
        classes = list(dict.fromkeys(c for m in self._known.values() for c in m.classes))
        if not classes:
            return self._values()
        place = {(type(name), name): code for code, name in enumerate(classes)}
        codes = np.array(
            [place.get((type(name), name), -1) for name in self._history.label.tolist()]
        )
        truth = np.full(len(codes), np.nan)
        for version, manifest in self._known.items():
            rows = self._version == version
            mine = [place[type(name), name] for name in manifest.classes]
            rows &= np.isin(codes, mine)
            truth[rows] = codes[rows]
        if len(classes) <= _BINARY:
            return truth, self._columns["probability"]
        return truth, np.column_stack([self._probability(name) for name in classes])

    def as_read(
        self, metric: Metric, score: npt.NDArray[np.float64], family: Family
    ) -> npt.NDArray[np.float64]:
        """Return the scores of ``scored`` as a metric reads them.

        One of baselines has the family's beside each, NaN where a version answered none.
        """
        if metric.of != "baselines":
            return score
        nothing = np.full(len(self._history), np.nan)
        names = [f"{family.baseline}.{name}" for name in self._history.targets]
        columns = [self._columns.get(name, nothing) for name in names or [family.baseline]]
        return np.stack([score, np.column_stack(columns).reshape(score.shape)], axis=-1)

    def _values(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        truth = self._history.label.astype(np.float64)
        nothing = np.full(len(self._history), np.nan)
        if not self._history.targets:
            # An output of whole numbers has None where no row was answered.
            score = self._columns.get("prediction", nothing).astype(np.float64)
            return np.where(np.isnan(score), np.nan, truth), score
        names = (f"prediction.{name}" for name in self._history.targets)
        scores = np.column_stack([self._columns.get(name, nothing) for name in names])
        whole = np.isfinite(scores).all(axis=1) & np.isfinite(truth).all(axis=1)
        return np.where(whole[:, None], truth, np.nan), scores

    def _limits(self, score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the thresholds of the version that answered each row, (n, 0) where none has any.

        (n,) of one score a row, else (n, k).
        """
        known = {version: one.limits for version, one in self._known.items() if one.limits}
        width = max(map(len, known.values()), default=0)
        found = np.full((len(score), width), _HALF)
        for version, limits in known.items():
            found[self._version == version] = limits
        return found[:, 0] if width and score.ndim == 1 else found

    def write(self, path: Path) -> None:
        """Write the answered rows to a Parquet file, in order of event time.

        Columns: ``event_time``, ``label_time``, ``label`` (of several targets ``label.TARGET``),
        ``version``, each output, ``seen``.

        Raises:
            NoriaError: The file can't be written.
        """
        import pyarrow.parquet as pq

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(self._table(), path)
        except OSError as error:
            raise NoriaError(
                f"the predictions can't be written to {path}: {error.strerror or error}",
                fix="give another file with --predictions",
            ) from error

    def _labels(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        history = self._history
        if history.labelled and not history.targets:
            yield "label", history.label
        for place, name in enumerate(history.targets):
            yield f"label.{name}", history.label[:, place]

    def _table(self) -> pa.Table:
        import pyarrow as pa

        rows = np.flatnonzero(self._answered)
        moment = pa.timestamp("ms", tz="UTC")
        columns = {
            "event_time": pa.array(self._history.event_ms[rows], pa.int64()).cast(moment),
            "label_time": pa.array(self._history.label_ms[rows], pa.int64()).cast(moment),
            **{name: pa.array(values[rows].tolist()) for name, values in self._labels()},
            "version": pa.array(self._version[rows].tolist(), pa.string()),
        }
        for name, values in self._columns.items():
            # A model's own output may have one of these names.
            columns[f"model.{name}" if name in _ours(columns) else name] = pa.array(
                values[rows].tolist()
            )
        columns["seen"] = pa.array(self._seen[rows])
        return pa.table(columns)

    def _probability(self, name: object) -> npt.NDArray[np.float64]:
        """Return what each version gave a class; 0 where it did not know it."""
        none = np.zeros(len(self._history))
        found: npt.NDArray[np.float64] = np.nan_to_num(
            self._columns.get(f"probability.{name}", none)
        )
        of_two = self._columns.get("probability", none)
        for version, manifest in self._known.items():
            if name in manifest.classes and len(manifest.classes) <= _BINARY:
                rows = self._version == version
                second = manifest.classes.index(name) == 1
                found[rows] = of_two[rows] if second else 1 - of_two[rows]
        return found


def is_whole(truth: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Say of each row of ``Answers.scored``'s labels, (n,) or (n, k), whether none is missing."""
    finite: npt.NDArray[np.bool_] = np.isfinite(truth)
    return finite if finite.ndim == 1 else np.asarray(finite.all(axis=1))


def _ours(columns: Mapping[str, object]) -> tuple[str, ...]:
    return (*columns, "seen")


def _flat(
    outputs: Mapping[str, npt.NDArray[Any]], manifest: Manifest
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for name, values in outputs.items():
        if values.ndim == 1:
            yield name, values
            continue
        wide = values.reshape(len(values), -1)
        known: Sequence[object] = manifest.classes or manifest.target_names
        names = known if len(known) == wide.shape[1] else range(wide.shape[1])
        for part, column in zip(names, wide.T, strict=True):
            yield f"{name}.{part}", column
