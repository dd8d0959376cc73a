"""The aggregator: adds partials up to windows, each partial once, and tests them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import numpy as np

from monitoring.config import MonitorConfig
from monitoring.core import Gathered, MonitorState, ReplicaState
from monitoring.detectors import DetectorResult
from monitoring.detectors.univariate import UnivariateDetector
from monitoring.log import EventLog
from monitoring.pairs import MAX_VERSIONS
from monitoring.partials.replica import grid_of
from monitoring.partials.sketches import CellGrid, check_sketch
from monitoring.partials.streams import (
    BASELINE,
    CORRECTIONS,
    OF_CORRECTIONS,
    OF_OUTCOMES,
    OUTCOMES,
    PREDICTION,
)
from monitoring.records import Outcomes, PartialRecord, Told, floats, scores_of, width_of
from monitoring.sources import unpack
from monitoring.state import State, baseline_of
from monitoring.table import ColumnArray, Table
from monitoring.watch import Watch, Watched, apply_min_effect, judge
from monitoring.windows import Windows
from noria.errors import MonitoringError

SILENT_SECONDS: Final = 30.0
"""A replica says at least every five seconds that it lives."""


class GatheringWindows(Windows):
    """Windows that are filled by replicas. A window takes partials in order of arrival."""

    def __init__(
        self,
        config: MonitorConfig,
        core: MonitorState,
        state: State,
        log: EventLog,
        watch: Watch | None,
        replicas: int,
    ) -> None:
        """Take the open windows' partials from the log again."""
        super().__init__(config, core, state, log, watch)
        self._replicas = replicas
        self._grid = None if watch is None else grid_of(watch, config.window_rows)
        self._open: dict[str, list[PartialRecord]] = {}
        self._parts: dict[int, int] = {}
        for stream, gathered in list(core.gathered.items()):
            found = [log.get(offset) for offset in gathered.offsets]
            kept = [record for record in found if isinstance(record, PartialRecord)]
            if len(kept) == len(found):
                self._open[stream] = kept
            else:
                core.counts.lost_rows += gathered.rows
                del core.gathered[stream]

    def switch(self, watch: Watch | None) -> None:
        """Watch against another reference: what was gathered against the last one goes."""
        super().switch(watch)
        self._grid = None if watch is None else grid_of(watch, self._config.window_rows)
        self._open.clear()
        self._core.gathered.clear()

    def partial(self, record: PartialRecord, offset: int) -> None:
        """Take a partial; one that came before changes nothing."""
        core = self._core
        known = core.replicas.setdefault(record.replica, ReplicaState())
        known.at = core.received
        if record.seq == 0:
            return
        if record.life != known.life:
            known.life, known.seq, known.versions, known.told = record.life, 0, {}, {}
        if record.seq <= known.seq:
            core.counts.duplicates += 1
            return
        # A replica sends in order and waits for each answer: a gap is a loss of its disk's.
        known.lost += record.seq - known.seq - 1
        known.seq = record.seq
        core.count_told(known, record.told)
        if record.stream == OUTCOMES:
            self._outcomes(record)
            return
        if record.stream == CORRECTIONS:
            self._corrections(record)
            return
        known.rows += record.rows if record.stream != PREDICTION else 0
        self._count(record, known)
        if self._watch is None or core.references.get(core.champion) != record.reference:
            core.counts.other_reference += record.rows
        elif not self._fits(record):
            core.counts.unreadable += 1
        else:
            self._gather(self._watch, record, offset)

    def _outcomes(self, record: PartialRecord) -> None:
        known = self._core.rows_by_version
        version = record.reference
        if version not in known and len(known) >= MAX_VERSIONS:
            version = "other"
        scores, labels, arrivals = (record.table[name] for name in OF_OUTCOMES)
        width, targets = (width_of(column, record.rows) or 0 for column in (scores, labels))
        beside = record.table.get(BASELINE)
        wide = beside is None or len(beside) == len(scores)
        if not self._core.fits(version, width) or targets not in (1, width) or not wide:
            self._core.counts.unreadable += 1
            return
        found = Outcomes(
            version,
            scores_of(scores, record.rows),
            scores_of(labels, record.rows),
            floats(arrivals),
            unpack(record.sources, record.rows * targets),
            record.again,
            baseline_of(beside, record.rows),
        )
        outcome = self.outcomes(found, record.at)
        self._state.put_origin(record.replica, record.life, record.seq, outcome)

    def _corrections(self, record: PartialRecord) -> None:
        columns = (floats(record.table[name]).tolist() for name in OF_CORRECTIONS)
        sources = unpack(record.sources, record.rows)
        found: defaultdict[int, dict[int, Told]] = defaultdict(dict)
        for partial, place, value, source in zip(*columns, sources, strict=True):
            outcome = self._state.origin(record.replica, record.life, int(partial))
            if outcome is None:
                self._core.counts.uncorrected += 1
            else:
                found[outcome][int(place)] = Told(value, source)
        self.correct(found, record.at)

    def _count(self, record: PartialRecord, known: ReplicaState) -> None:
        core = self._core
        for version, rows in record.versions.items():
            more = rows - known.versions.get(version, 0)
            core.counts.rows += more
            kept = version
            if version not in core.rows_by_version and len(core.rows_by_version) >= MAX_VERSIONS:
                kept = "other"
            core.rows_by_version[kept] = core.rows_by_version.get(kept, 0) + more
        known.versions = record.versions
        core.watermark = max(core.watermark, record.at)
        core.first_prediction_at = core.first_prediction_at or record.at
        core.last_prediction_at = max(core.last_prediction_at, record.at)

    def _gather(self, watch: Watch, record: PartialRecord, offset: int) -> None:
        gathered = self._core.gathered.setdefault(record.stream, Gathered())
        gathered.offsets.append(offset)
        gathered.rows += record.rows
        self._open.setdefault(record.stream, []).append(record)
        wanted = self._config.window_rows
        if record.stream == PREDICTION:
            wanted = self._prediction_rows()
        if gathered.rows >= wanted:
            records = self._open.pop(record.stream)
            del self._core.gathered[record.stream]
            self._close(watch, record.stream, records)

    def _close(self, watch: Watch, stream: str, records: list[PartialRecord]) -> None:
        core = self._core
        state = self._stream_state(stream)
        number, state.number = state.number, state.number + 1
        at = max(record.at for record in records)
        core.incomplete = [
            replica
            for replica in range(1, self._replicas + 1)
            if replica not in core.replicas
            or core.received - core.replicas[replica].at > SILENT_SECONDS
        ]
        self._parts = {
            replica: sum(r.rows for r in records if r.replica == replica)
            for replica in sorted({r.replica for r in records})
        }

        if stream == PREDICTION:
            parts = [scores_of(record.table[PREDICTION], record.rows) for record in records]
            self._predictions(watch, parts, number, at)
        else:
            self._gathered_features(watch, records, number, at)

    def _gathered_features(
        self, watch: Watch, records: list[PartialRecord], number: int, at: float
    ) -> None:
        grid = self._whole_grid()
        window = grid.add_up([(record.rows, record.columns) for record in records])
        dependence = watch.dependence["features"]
        dependence.learn(window.dependence)
        self._moved.add("features")

        def verdict(one: Watched) -> DetectorResult:
            if isinstance(one.detector, UnivariateDetector):
                counted = one.detector.score_counts(window.rows, window.cells)
                return apply_min_effect(one, counted, dependence)
            return judge(one, _rows(grid, records), dependence)

        quality = check_sketch(grid.schema, window, watch.reference.missing, self._config.quality)
        self._judged(watch.on("features"), verdict, number, at, quality)

    def _keep(self, stream: str, number: int, at: float, said: dict[str, Any]) -> None:
        if "metrics" not in said:
            said |= {"replicas": self._parts, "missing": self._core.incomplete}
        super()._keep(stream, number, at, said)

    def _fits(self, record: PartialRecord) -> bool:
        if record.stream == PREDICTION:
            width = width_of(record.table.get(PREDICTION, b""), record.rows)
            return bool(width) and self._core.fits(self._core.champion, width or 0)
        return self._whole_grid().fits(record.columns)

    def _whole_grid(self) -> CellGrid:
        if self._grid is None:
            raise MonitoringError("there is no reference to measure partials with")
        return self._grid


_KEPT_AS: Final = {"numeric": np.float64, "categorical": np.int32, "vector": np.float32}


def _rows(grid: CellGrid, records: list[PartialRecord]) -> Table:
    """Put shipped rows together, in the order that their partials came."""
    columns: dict[str, ColumnArray] = {}
    rows = sum(record.rows for record in records)
    for column in grid.schema:
        body = b"".join(record.table.get(column.name, b"") for record in records)
        kind = _KEPT_AS[column.kind]
        if len(body) != np.dtype(kind).itemsize * rows * (column.width or 1):
            raise MonitoringError("a replica did not send the rows that a joint test needs")
        columns[column.name] = np.frombuffer(body, kind).reshape(rows, *column.shape)
    return Table(grid.schema, columns, rows)
