"""Works through the log: one transaction per batch commits all that it made of it.

Everything is a function of the log's prefix. However the log is cut into
transactions, and however often the process dies between them, the same records
make the same windows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from monitoring.config import MonitorConfig
from monitoring.core import MonitorState
from monitoring.labels import LabelJoiner
from monitoring.log import EventLog, Logged
from monitoring.pairs import IdRows, Moment, PairJoiner
from monitoring.partials.gathering import GatheringWindows
from monitoring.partials.replica import Replica, ReplicaWindows
from monitoring.records import (
    NO_TIME,
    AsideRecord,
    BlockRecord,
    LabelsRecord,
    PartialRecord,
    ReferenceRecord,
    RequestRecord,
    Requests,
    ResponseRecord,
    ids_of,
)
from monitoring.served.joined import Joined
from monitoring.state import Pair, State
from monitoring.watch import Watch
from monitoring.windows import Windows
from noria.errors import (
    IntegrityError,
    InvalidInput,
    MonitoringError,
    Unavailable,
    shorten,
    traceback_tail,
)

_log = logging.getLogger(__name__)
_HOUSEKEEPING: Final = 2000
_HOUSEKEEPING_ROWS: Final = 200_000
_SHOWN: Final = 300
_SLEWED: Final = 1.0
"""A clock that goes back by less (s) is only being adjusted."""
ArrivalClock: TypeAlias = Literal["wall", "event"]
"""What arrival time is: when the monitor got the event, or the largest event time so far."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows kept at most; older ones are forgotten first, and counted."""

    pair_rows: int = 5_000_000
    outcome_rows: int = 2_000_000


@dataclass(frozen=True, slots=True)
class Role:
    """What a monitor is among several: a replica, or the aggregator of so many ``replicas``."""

    replica: Replica | None = None
    replicas: int = 0


SINGLE: Final = Role()


class Processor:
    """Turns log records into rows, windows, results and signals. Used by one thread."""

    def __init__(
        self,
        config: MonitorConfig,
        log: EventLog,
        state: State,
        home: Path,
        clock: ArrivalClock = "wall",
        limits: Limits = Limits(),
        role: Role = SINGLE,
    ) -> None:
        """Load what was committed last.

        Args:
            config: what to watch.
            log: where records come from.
            state: where everything else is kept.
            home: folder of the references' copies and of fitted detectors.
            clock: what arrival time is.
            limits: bounds of what is kept.
            role: what this monitor is among several.
        """
        self._config = config
        self._log = log
        self._state = state
        self._home = home
        self._clock = clock
        self._limits = limits
        self._role = role
        # A replica fits nothing: it needs the reference only.
        self._fitting = config if role.replica is None else role.replica.config(config)
        self._watches: dict[str, Watch] = {}
        self.blind = ""
        self.left_out = ""
        self.damaged = ""
        self._load()

    @property
    def snapshot(self) -> MonitorState:
        """The core as of the last commit; nobody changes it any more."""
        return self._snapshot

    def step(self, limit: int = 512) -> int:
        """Process up to ``limit`` records in one transaction; return how many.

        A record that can't be processed is left out, counted as unreadable and named by
        ``left_out``. Only what may heal by itself is left to be tried again.

        Raises:
            Unavailable: the disk or a lock; nothing was done.
            MonitoringError: the log or the state is damaged; nothing was done.
        """
        try:
            if not self._is_loaded:
                self._load()
            batch = self._log.read(self._core.offset, limit)
            if not batch:
                return 0
            self._process(batch)
        except MonitoringError as error:
            self.damaged = str(error)
            self._load()
            raise
        except Unavailable:
            self._load()
            raise
        except Exception as error:  # noqa: BLE001 - one bad record must not stop the others
            _log.warning("a record can't be processed, trying one by one: %s", error)
            self._load()
            self._one_by_one(batch)
        return len(batch)

    def prune(self) -> None:
        """Forget log records that no open window, no open pair and no kept row needs any more."""
        core = self._snapshot
        needed = [
            core.offset + 1,
            *self._state.oldest_open_offsets(),
            *(offset for gathered in core.gathered.values() for offset in gathered.offsets[:1]),
            *self._state.oldest_requests(self._windows.first_feature_pair()),
            *(
                self._state.oldest_answers(self._windows.first_feature_pair())
                if self._config.is_of_texts
                else ()
            ),
            *(() if self._joined is None else self._joined.oldest_needed()),
        ]
        self._log.prune(min(needed), core.received - 2 * self._config.max_label_lag)

    def _one_by_one(self, batch: list[Logged]) -> None:
        for logged in batch:
            try:
                self._process([logged])
            except (MonitoringError, Unavailable):
                self._load()
                raise
            except Exception as error:  # noqa: BLE001 - counted, named and left out
                said = f"{type(error).__name__}: {error}"[:_SHOWN]
                _log.error(
                    "record %d of the log is left out: %s", logged.offset, traceback_tail(error)
                )
                self._load()
                self._process([Logged(logged.offset, logged.received, None)])
                self.left_out = f"record {logged.offset} can't be processed and is left out: {said}"

    def _load(self) -> None:
        # Until all of it is read again, nothing can go on with what is half read.
        self._is_loaded = False
        self._core = core = self._state.core()
        self._snapshot = self._state.core()
        watch = self._watch(core.champion)
        given = (self._config, core, self._state, self._log, watch)
        self._windows: Windows
        if self._role.replica is not None:
            self._windows = ReplicaWindows(*given, self._role.replica)
        elif self._role.replicas:
            self._windows = GatheringWindows(*given, self._role.replicas)
        else:
            self._windows = Windows(*given)
        self._pairs = PairJoiner(core, self._state, self._log, self._paired)
        keeping = self._config.keeping
        self._joined = None if keeping is None else Joined(keeping, core, self._state, self._log)
        self._labels = LabelJoiner(
            core,
            self._state,
            self._pairs,
            self._windows,
            self._joined,
            classification=self._config.classification,
            counts=self._config.counts,
        )
        # What is so now, whatever was so when it was committed.
        self._snapshot.problems = dict(core.problems)
        self._snapshot.classes = core.classes
        self._snapshot.targets = core.targets
        self._snapshot.undescribed = core.undescribed
        self._snapshot.learning = core.learning
        self._is_loaded = True

    def _process(self, batch: list[Logged]) -> None:
        core = self._core
        with self._state.transaction():
            self._pairs.expect([identity for logged in batch for identity in ids_of(logged.record)])
            for logged in batch:
                core.offset = logged.offset
                self._arrive(logged.received)
                core.counts.processed += 1
                rows = core.counts.rows
                self._apply(logged)
                crossed = core.counts.rows // _HOUSEKEEPING_ROWS != rows // _HOUSEKEEPING_ROWS
                if crossed or logged.offset % _HOUSEKEEPING == 0:
                    self._keep_house()
            self._pairs.flush()
            self._windows.flush()
            body = self._state.put_core(core)
        self._snapshot = msgspec.msgpack.decode(body, type=MonitorState)

    def _arrive(self, received: float) -> None:
        """Take a record's arrival time; moments after it can't have been: the clock was set back.

        Ages count from the present clock then, and no lag is negative.
        """
        core = self._core
        if not received:
            return
        if received < core.received and self._clock == "wall":
            core.counts.clock_steps += received < core.received - _SLEWED
            core.last_window_at = min(core.last_window_at, received)
            core.first_prediction_at = min(core.first_prediction_at, received)
            core.last_prediction_at = min(core.last_prediction_at, received)
            core.last_labelled_at = min(core.last_labelled_at, received)
        core.received = received

    def _apply(self, logged: Logged) -> None:
        core, record = self._core, logged.record
        match record:
            case RequestRecord():
                if record.time is not None:
                    core.watermark = max(core.watermark, record.time / 1000.0)
                self._pairs.request(record, logged, self._now())
            case ResponseRecord():
                self._pairs.response(record, logged, self._now())
            case AsideRecord():
                self._pairs.aside(record, logged, self._now())
            case BlockRecord():
                self._pairs.block(record, logged, self._moments(record))
            case LabelsRecord():
                times = [label.time for label in record.labels if label.time is not None]
                core.watermark = max(core.watermark, max(times, default=0) / 1000.0)
                self._labels.labels(record, self._now())
            case ReferenceRecord():
                self._reference(record)
            case PartialRecord() if isinstance(self._windows, GatheringWindows):
                self._windows.partial(record, logged.offset)
            case PartialRecord():
                core.counts.unreadable += 1
            case None:
                core.counts.unreadable += 1

    def _moments(self, record: BlockRecord) -> list[Moment]:
        """Return when the requests of a block arrived, and move the watermark to the last."""
        core, size = self._core, len(record.ids)
        if record.times is None:
            return [Moment(size, self._now())]
        given = np.frombuffer(record.times, np.int64)
        largest = int(given.max(initial=NO_TIME))
        before = core.watermark
        if largest != NO_TIME:
            core.watermark = max(before, largest / 1000.0)
        if self._clock == "wall" or core.watermark == before:
            return [Moment(size, self._now())]
        # The watermark as each request moved it: however they were cut into blocks, the same.
        marks = np.maximum.accumulate(np.maximum(given / 1000.0, before))
        stops = [*(np.flatnonzero(np.diff(marks)) + 1).tolist(), size]
        return [Moment(stop, float(marks[stop - 1])) for stop in stops]

    def _paired(self, pair: Pair, request: Requests, parts: Sequence[IdRows]) -> None:
        keys = (request.keys or ())[pair.first : pair.first + pair.rows]
        self._labels.pair(pair, keys, parts)
        self._windows.pair(pair, request)

    def _reference(self, record: ReferenceRecord) -> None:
        core = self._core
        same = core.references.get(record.version) == record.folder
        core.references[record.version] = record.folder
        core.thresholds.pop(record.version, None)
        if record.thresholds:
            core.thresholds[record.version] = record.thresholds
        if not record.champion or (same and core.champion == record.version and not self.blind):
            return
        before, named = core.champion, core.targets
        unknown = not before or bool(self.blind)
        core.champion = record.version
        watch = self._watch(record.version)
        if named and core.targets and core.targets != named:
            # Rows that the one before predicted have its targets, whatever they are called now.
            core.renamed = (
                f"version {record.version} names the targets {shorten(list(core.targets))}, "
                f"version {before} {shorten(list(named))}: labels go by the newer names"
            )
        elif before != record.version:
            core.renamed = ""
        if unknown and watch is not None and self._joined is not None:
            self._joined.name()
        self._windows.switch(watch)

    def _watch(self, version: str) -> Watch | None:
        """Return the detectors fitted on a version's reference; None when there is none.

        One that is not what was put is as good as none: ``blind`` says so until it comes again.
        """
        core = self._core
        folder = core.references.get(version)
        self.blind = ""
        if not version or folder is None:
            return None
        watch = self._watches.get(folder)
        if watch is None:
            try:
                watch = Watch(
                    self._fitting,
                    self._home / "references" / folder,
                    self._home / "fitted" / folder,
                    streams=max(1, self._role.replicas),
                )
            except (InvalidInput, IntegrityError) as error:
                self.blind = f"blind: the reference of version {version} is damaged: {error}"
                _log.error("%s", self.blind)
                core.problems = {}
                return None
            # Only the champion's is used; the last one stays for a rollback of a batch.
            self._watches = {folder: watch}
        core.problems = dict(watch.problems)
        core.classes = watch.reference.classes
        core.targets = watch.reference.targets
        core.undescribed = watch.undescribed
        return watch

    def _keep_house(self) -> None:
        core = self._core
        self._pairs.flush()
        before = self._now() - 2 * self._config.max_label_lag
        self._state.expire(before, self._windows.first_pair(), self._limits.pair_rows, core)
        self._state.expire_outcomes(self._limits.outcome_rows, self._windows.first_outcome(), core)

    def _now(self) -> float:
        return self._core.received if self._clock == "wall" else self._core.watermark
