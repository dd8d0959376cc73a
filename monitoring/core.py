"""Everything small that the monitor has found: its counts, its open windows, its last reports.

One value, written whole in each of the processor's transactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from monitoring.quality import QualityResult
from noria.labels import FEEDBACK
from noria.measures.measurement import Measurement

MAX_ASIDE: Final = 64
"""Fields that are told by name: their names come from outside."""

OTHER: Final = "other"
MAX_SOURCES: Final = 16
"""Sources of labels that are counted by name; all others are one, ``other``."""

ClassName: TypeAlias = str | int | float | bool
"""A class as the model's package has it."""


class StreamState(msgspec.Struct):
    """Where a stream's open window starts: a sequence number and a row within it."""

    number: int = 0
    first: int = 0
    row: int = 0
    rows: int = 0


class DriftReport(msgspec.Struct, frozen=True):
    """The last result of one detector."""

    kind: str
    backend: str
    window: int
    version: str
    statistic: float | None
    p_value: float | None
    threshold: float
    drift: bool
    effect: float | None
    at: float
    samples: int
    features: tuple[dict[str, Any], ...] = ()
    design_effect: float = 1.0


class DropReport(msgspec.Struct, frozen=True):
    """How far a metric is below (for a loss: above) its value at training; positive is worse.

    ``bound`` is the end of the interval nearest to ``expected``, ``least`` the least drop that
    its interval and that of ``expected`` leave.
    """

    metric: str
    value: float
    bound: float
    expected: float
    least: float


class PerformanceReport(msgspec.Struct, frozen=True):
    """The last performance window of a version. ``drop``: of the champion, when it is watched.

    ``corrected`` is how many labels of closed windows were corrected since it was measured. Of
    several targets or classes ``parts`` has what a metric is the mean of: metric to the name of a
    target (its place, where it has none) or of a class, to value.
    """

    window: int
    at: float
    metrics: dict[str, Measurement]
    drop: DropReport | None = None
    corrected: int = 0
    parts: dict[str, dict[str, float | None]] = {}


class Counts(msgspec.Struct):
    """How many of what, ever. ``processed`` counts log records.

    ``other_reference`` are rows of partials about a reference that is not the champion's.
    ``lost_rows`` were in an open window when the log was damaged; ``clock_steps`` is how
    often the wall clock was set back, ``unseen`` the values that training never had.
    ``blind_rows`` came while no champion was known, or its reference could not be read.
    ``corrected`` are rows whose label was changed, ``uncorrected`` those whose first label is no
    longer kept. ``unkept`` got a label that is not in the table of what was served: the log does
    not know them any more, they have no event time, or the champion names other targets than
    they have, or as columns can't be named. Each time that labels of such a row come counts.
    """

    processed: int = 0
    requests: int = 0
    responses: int = 0
    duplicates: int = 0
    rows: int = 0
    labels: int = 0
    joined: int = 0
    unpaired: int = 0
    unlabelled: int = 0
    mismatched: int = 0
    unreadable: int = 0
    orphan_labels: int = 0
    windows: int = 0
    lost_rows: int = 0
    clock_steps: int = 0
    unseen: int = 0
    other_reference: int = 0
    blind_rows: int = 0
    corrected: int = 0
    uncorrected: int = 0
    unkept: int = 0


class Gathered(msgspec.Struct):
    """The partials of an open window: their offsets in the log, and their rows."""

    offsets: list[int] = []
    rows: int = 0


class ReplicaState(msgspec.Struct):
    """What came from one replica: its present life, its last partial, and when it was heard.

    ``lost`` counts partials that never came; ``versions`` are its rows so far. ``told`` are the
    labels that its present life has received by source, ``sources`` those of all its lives.
    """

    life: str = ""
    seq: int = 0
    at: float = 0.0
    rows: int = 0
    lost: int = 0
    versions: dict[str, int] = {}
    told: dict[str, int] = {}
    sources: dict[str, int] = {}


class MonitorState(msgspec.Struct):
    """Everything small. Times are epoch seconds; ``watermark`` is the largest event time.

    ``judged`` counts the windows that each detector has tested against the present reference,
    ``rows_at_window`` is how many rows there had been when the last drift window closed.
    ``classes`` are the champion's, and so are ``targets``, the names of a row's targets;
    ``renamed`` says when they are others than before. ``sources`` counts the labels received by
    their source. ``undescribed`` are features that describe a text, and the champion's reference
    lacks. ``life`` names a replica's state. ``learning`` has the streams
    whose detectors still learn what windows are compared with, and from how many rows. ``widths``
    is how many numbers a row's prediction has, by version. ``aside`` counts the exchanges of which
    something could not be watched, by ``field: reason``. ``failed`` counts the performance windows
    in which a metric failed, ``failing`` says why of those whose last window was such a one.
    ``thresholds`` are those from which on a version calls something positive; without any 0.5.
    """

    offset: int = 0
    received: float = 0.0
    watermark: float = 0.0
    champion: str = ""
    references: dict[str, str] = {}
    expected: dict[str, float] = {}
    next_pair: int = 1
    next_outcome: int = 1
    next_signal: int = 1
    next_served: int = 1
    outcome_rows: int = 0
    waiting_labels: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)
    rows_by_version: dict[str, int] = {}
    streams: dict[str, StreamState] = {}
    drift: dict[str, DriftReport] = {}
    drifts: dict[str, int] = {}
    judged: dict[str, int] = {}
    signals: dict[str, int] = {}
    problems: dict[str, str] = {}
    quality: QualityResult | None = None
    quality_at: float = 0.0
    performance: dict[str, PerformanceReport] = {}
    last_window_at: float = 0.0
    rows_at_window: int = 0
    last_prediction_at: float = 0.0
    last_labelled_at: float = 0.0
    first_prediction_at: float = 0.0
    label_delay: float = 0.0
    next_partial: int = 1
    gathered: dict[str, Gathered] = {}
    replicas: dict[int, ReplicaState] = {}
    incomplete: list[int] = []
    classes: tuple[ClassName, ...] = ()
    life: str = ""
    learning: dict[str, int] = {}
    widths: dict[str, int] = {}
    aside: dict[str, int] = {}
    targets: tuple[str, ...] = ()
    renamed: str = ""
    sources: dict[str, int] = {}
    failed: dict[str, int] = {}
    failing: dict[str, str] = {}
    undescribed: tuple[str, ...] = ()
    thresholds: dict[str, tuple[float, ...]] = {}

    def count_label(self, source: str) -> None:
        """Count a label that was received, by its source."""
        self.counts.labels += 1
        self.sources.setdefault(FEEDBACK, self.counts.labels - 1)
        name = self._source(source)
        self.sources[name] = self.sources.get(name, 0) + 1

    def count_told(self, replica: ReplicaState, told: Mapping[str, int]) -> None:
        """Count the labels that a replica says it has received, by source.

        Every label goes to every replica: those of the one that has most are what came.
        """
        if not told:
            return
        self.sources.setdefault(FEEDBACK, 0)
        for source, labels in told.items():
            name = self._source(source)
            more = max(0, labels - replica.told.get(source, 0))
            replica.sources[name] = replica.sources.get(name, 0) + more
            self.sources[name] = max(self.sources.get(name, 0), replica.sources[name])
        replica.told = dict(told)
        self.counts.labels = sum(self.sources.values())

    def _source(self, name: str) -> str:
        """Return what a source is counted as."""
        return name if name in self.sources or len(self.sources) < MAX_SOURCES else OTHER

    def set_aside(self, fields: Mapping[str, str], exchanges: int) -> None:
        """Count exchanges of which something could not be watched: names with the reasons."""
        for name, reason in fields.items():
            known = f"{name}: {reason}"
            if known not in self.aside and len(self.aside) >= MAX_ASIDE:
                known = f"other: {reason}"
            self.aside[known] = self.aside.get(known, 0) + exchanges

    def fits(self, version: str, width: int) -> bool:
        """Whether a version's predictions have so many numbers a row; the first ones say how many.

        Predictions of two widths could not be compared with each other. Of no rows the width is 0.
        """
        return not width or self.widths.setdefault(version, width) == width


def labels_by_source(core: MonitorState) -> dict[str, int]:
    """Return how many labels came of each source; before there were sources all were feedback."""
    return core.sources or {FEEDBACK: core.counts.labels}
