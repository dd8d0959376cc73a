"""The aggregator: adds partials up to windows, each partial once, and tests them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from monitoring.config import MonitorConfig
from monitoring.core import Core, Gathered, ReplicaState
from monitoring.detectors import DetectorResult
from monitoring.detectors.univariate import UnivariateDetector
from monitoring.labels import Outcomes
from monitoring.log import EventLog
from monitoring.partials.replica import rulers
from monitoring.partials.sketches import Ruler, check_sketch
from monitoring.records import PartialRecord, floats
from monitoring.state import State
from monitoring.table import ColumnArray, Table
from monitoring.watch import Watch, Watched, minded
from monitoring.windows import Windows
from noria.errors import MonitoringError

SILENT_SECONDS: Final = 30.0
"""A replica says at least every five seconds that it lives."""
_OUTCOMES: Final = "outcomes"
_PREDICTION: Final = "prediction"


class GatheringWindows(Windows):
    """Windows that are filled by replicas. A window takes partials in order of arrival."""

    def __init__(
        self,
        config: MonitorConfig,
        core: Core,
        state: State,
        log: EventLog,
        watch: Watch | None,
        replicas: int,
    ) -> None:
        """Take the open windows' partials from the log again."""
        super().__init__(config, core, state, log, watch)
        self._replicas = replicas
        self._rulers = None if watch is None else rulers(watch)
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
        self._rulers = None if watch is None else rulers(watch)
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
            known.life, known.seq, known.versions = record.life, 0, {}
        if record.seq <= known.seq:
            core.counts.duplicates += 1
            return
        # A replica sends in order and waits for each answer: a gap is a loss of its disk's.
        known.lost += record.seq - known.seq - 1
        known.seq = record.seq
        if record.stream == _OUTCOMES:
            columns = (floats(record.table[name]) for name in ("scores", "labels", "arrivals"))
            self.outcomes(Outcomes(record.reference, *columns), record.at)
            return
        known.rows += record.rows if record.stream != _PREDICTION else 0
        self._count(record, known)
        if self._watch is None or core.references.get(core.champion) != record.reference:
            core.counts.other_reference += record.rows
        elif not self._ruler(record.stream).fits(record.columns):
            core.counts.unreadable += 1
        else:
            self._gather(self._watch, record, offset)

    def _count(self, record: PartialRecord, known: ReplicaState) -> None:
        core = self._core
        for version, rows in record.versions.items():
            more = rows - known.versions.get(version, 0)
            core.counts.rows += more
            core.rows_by_version[version] = core.rows_by_version.get(version, 0) + more
        known.versions = record.versions
        core.watermark = max(core.watermark, record.at)
        core.first_prediction_at = core.first_prediction_at or record.at
        core.last_prediction_at = max(core.last_prediction_at, record.at)

    def _gather(self, watch: Watch, record: PartialRecord, offset: int) -> None:
        gathered = self._core.gathered.setdefault(record.stream, Gathered())
        gathered.offsets.append(offset)
        gathered.rows += record.rows
        self._open.setdefault(record.stream, []).append(record)
        if gathered.rows >= self._config.window_rows:
            records = self._open.pop(record.stream)
            del self._core.gathered[record.stream]
            self._close(watch, record.stream, records)

    def _close(self, watch: Watch, stream: str, records: list[PartialRecord]) -> None:
        core = self._core
        ruler = self._ruler(stream)
        state = self._stream_state(stream)
        number, state.number = state.number, state.number + 1
        window = ruler.add_up([(record.rows, record.columns) for record in records])
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

        def verdict(one: Watched) -> DetectorResult:
            if isinstance(one.detector, UnivariateDetector):
                return minded(one, one.detector.score_counts(window.rows, window.cells))
            return minded(one, one.detector.score(_rows(ruler, records)))

        if stream == _PREDICTION:
            self._judged(watch.on("prediction"), verdict, number, at)
        else:
            quality = check_sketch(ruler.schema, window, self._config.quality)
            self._judged(watch.on("features"), verdict, number, at, quality)

    def _keep(self, stream: str, number: int, at: float, said: dict[str, Any]) -> None:
        if "metrics" not in said:
            said |= {"replicas": self._parts, "missing": self._core.incomplete}
        super()._keep(stream, number, at, said)

    def _ruler(self, stream: str) -> Ruler:
        if self._rulers is None:
            raise MonitoringError("there is no reference to measure partials with")
        return self._rulers[stream == _PREDICTION]


def _rows(ruler: Ruler, records: list[PartialRecord]) -> Table:
    """Put shipped rows together, in the order that their partials came."""
    columns: dict[str, ColumnArray] = {}
    for column in ruler.schema:
        body = b"".join(record.table.get(column.name, b"") for record in records)
        columns[column.name] = (
            floats(body) if column.kind == "numeric" else np.frombuffer(body, np.int32)
        )
    rows = sum(record.rows for record in records)
    if any(values.size != rows for values in columns.values()):
        raise MonitoringError("a replica did not send the rows that a joint test needs")
    return Table(ruler.schema, columns, rows)
