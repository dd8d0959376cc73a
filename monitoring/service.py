"""One model's monitor, without HTTP: what may be asked of it, and what it answers."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from monitoring.blocks import read_block
from monitoring.config import MonitorConfig
from monitoring.core import MonitorState, labels_by_source
from monitoring.events import Event, media_type, read_events
from monitoring.feedback import read_feedback
from monitoring.health import SET_ASIDE, Health, states, trouble
from monitoring.limits import MAX_VERSION_CHARS, bounded_text, foreign
from monitoring.log import WRITE_PATIENCE, EventLog
from monitoring.measures import measure
from monitoring.partials.gathering import SILENT_SECONDS
from monitoring.partials.replica import living
from monitoring.partials.sender import Sender
from monitoring.partials.streams import check_partial
from monitoring.payload import read_payload
from monitoring.processor import SINGLE, ArrivalClock, Processor, Role
from monitoring.readers import Outbox, StateReader
from monitoring.records import AsideRecord, PartialRecord, ReferenceRecord, encode
from monitoring.reference import keep_reference, read_folder, read_reference
from monitoring.runner import STEP_PATIENCE, Runner
from monitoring.served.joined import names_of
from monitoring.served.writer import PATIENCE, Writer
from monitoring.state import State
from monitoring.tables import set_aside_database
from monitoring.targets import Targets
from monitoring.texts import read_text
from monitoring.upload import unpacked
from monitoring.waiting import waiting
from noria.errors import (
    InvalidInput,
    MonitoringError,
    Unavailable,
    shorten,
    traceback_tail,
)
from noria.files import damaged, make_folder
from noria.loop.ports import LABELLED_ROWS, ROWS_PER_DAY
from noria.measures.measurement import Measurement
from noria.predictions import MEDIA_TYPE
from noria.served.remote import Listing
from noria.served.table import FOLDER, ServedTable, part_of
from noria.worker import Worker

_SIGNALS: Final = 200
_LOST_BEFORE_THE_LOG: Final = ("backlog", "not-written", "refused")
_FLUSH_SECONDS: Final = 300.0
_MAX_WINDOWS: Final = 1000
_RATE_WINDOWS: Final = 200
_DAY_SECONDS: Final = 86_400.0
_RATE_SECONDS: Final = 7 * _DAY_SECONDS
_PRIVATE_FOLDER: Final = 0o700
_log = logging.getLogger(__name__)


class _Ended(msgspec.Struct):
    """When a window ended, of all that it said."""

    at: float


class PutReference(msgspec.Struct):
    """The body of ``PUT /models/{m}/versions/{v}/reference``."""

    path: str
    champion: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a monitor keeps its files, and what it takes as arrival time.

    A replica (``role``) sends to the ``aggregator``'s URL; without one its partials stay.
    With ``max_backlog`` records that are logged and not yet processed, events are refused.
    """

    home: Path
    clock: ArrivalClock = "wall"
    max_backlog: int = 2_000_000
    role: Role = SINGLE
    aggregator: str = ""


class Monitor:
    """Log, processor and readers of one model."""

    def __init__(
        self,
        config: MonitorConfig,
        setting: Setting,
        now: Callable[[], float],
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the state, and start to process what is still in the log.

        Args:
            config: what to watch.
            setting: where to keep it.
            now: wall clock, epoch seconds; it may be set back.
            elapsed: seconds since some moment; it never goes back.

        Raises:
            MonitoringError: the files can't be opened or read.
        """
        if config.is_of_texts and (setting.role.replica is not None or setting.role.replicas):
            raise InvalidInput(
                f"{config.model}: exchanges of texts are watched by one monitor",
                fix="start it without --replica and --replicas",
            )
        home = setting.home
        make_folder(home)
        with suppress(OSError):
            # One that was made by others, as a volume is, keeps its mode.
            home.chmod(_PRIVATE_FOLDER)
        make_folder(home / "references")
        self.config = config
        self._home = home
        self._clock = setting.clock
        self._max_backlog = setting.max_backlog
        self._now = now
        self._elapsed = elapsed
        self._silence = (0.0, 0.0, 0.0)
        self._keeping = threading.Lock()
        self._reading = threading.Lock()
        self.role = setting.role
        try:
            self._open(setting)
        except (MonitoringError, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever the state holds, the monitor starts
            _log.error("the state can't be used: %s", traceback_tail(error))
            self._log.close()
            self._state.close()
            set_aside_database(home / "state.db", f"{type(error).__name__}: {error}")
            self._open(setting)
        self._reader = StateReader(home / "state.db")
        self._sender: Sender | None = None
        if self.role.replica is not None and setting.aggregator:
            outbox = Outbox(home / "state.db")
            self._sender = Sender(outbox, self.role.replica, setting.aggregator)
        self._served = self._writer()
        self._dropped: dict[str, int] = {}
        self._log.on_append(self._runner.wake)
        self._runner.start()
        self._runner.wake()

    def _open(self, setting: Setting) -> None:
        """Open state and log, and load what was committed last.

        A state that is new, for it was lost or damaged, begins where the log does.
        """
        home = setting.home
        self._state = State(home / "state.db")
        fresh = self._state.is_fresh
        processed = None if fresh else self._state.core().offset
        self._log = EventLog(home / "log.db", self._now, processed=processed, elapsed=self._elapsed)
        if fresh:
            # No number of a row is used twice, whatever was lost.
            written = ServedTable(home / FOLDER).highest()
            self._state.begin(MonitorState(offset=self._log.begin, next_served=written + 1))
        self.role = setting.role
        if self.role.replica is not None:
            replica = living(self.role.replica, home, self._state)
            self.role = replace(self.role, replica=replica)
        self._processor = Processor(
            self.config, self._log, self._state, home, setting.clock, role=self.role
        )
        self._runner = Runner(self._processor, self._log, self._elapsed)

    def _writer(self) -> Writer | None:
        """Start what keeps labelled rows; None when they are not kept."""
        keeping = self.config.keeping
        if keeping is None:
            return None
        writer = Writer(self._home, keeping, lambda: self.snapshot.classes, self._arrival)
        writer.start()
        return writer

    def _arrival(self) -> float:
        core = self.snapshot
        return core.received if self._clock == "wall" else core.watermark

    # What comes in ----------------------------------------------------------------------------

    def accept(self, headers: Mapping[str, str], body: bytes) -> Future[int]:
        """Log the payload events of one HTTP request; the future ends when they are durable.

        Counts the events that there is no room for as dropped. Events that are no
        events, and a future that fails, are the caller's to count.

        Raises:
            InvalidInput: they are no events of this model; the message names the field.
            Unavailable: too much waits already; they are dropped and counted.
        """
        with foreign():
            if media_type(headers) == MEDIA_TYPE and not self.config.is_of_texts:
                block = read_block(body, self.config)
                records, events = [(block.rows, encode(block))], 2 * len(block.ids)
            else:
                records = [self._payload(event) for event in read_events(headers, body)]
                events = len(records)
        return self._append(records, events)

    def _payload(self, event: Event) -> tuple[int, bytes]:
        # An InferenceService of one version alone is named for it: flights-v7.
        names = ("", self.config.model, f"{self.config.model}-v{event.version}")
        if event.model not in names:
            raise InvalidInput(
                f"inferenceservicename: {shorten(event.model)} is not watched here",
                fix=f"this monitor watches {self.config.model!r}",
            )
        if self.config.is_of_texts:
            found = read_text(event)
            return int(not isinstance(found, AsideRecord)), encode(found)
        record = read_payload(event, self.config)
        return record.rows, encode(record)

    def _append(self, records: list[tuple[int, bytes]], events: int) -> Future[int]:
        if self.backlog >= self._max_backlog:
            self.drop("backlog", events)
            raise Unavailable("the monitor is too far behind", fix="sample less")
        try:
            return self._log.append(records)
        except Unavailable:
            self.drop("not-written", events)
            raise

    def partials(self, body: bytes) -> Future[int]:
        """Log partials of replicas; the future ends when they are durable.

        Raises:
            InvalidInput: they are no partials.
            Unavailable: too much waits already, or this monitor does not aggregate so many.
        """
        with foreign("no partials"):
            found = msgspec.msgpack.decode(body, type=list[PartialRecord])
        for i, record in enumerate(found):
            if not 1 <= record.replica <= self.role.replicas:
                # Its sender keeps it: it may be this monitor that was started wrongly.
                raise Unavailable(
                    f"[{i}].replica: {shorten(record.replica)} is not one of "
                    f"{self.role.replicas} replicas",
                    fix="start the aggregator with --replicas N",
                )
            check_partial(record, f"[{i}]")
        return self._log.append([(record.rows, encode(record)) for record in found])

    def silence(self) -> dict[int, float]:
        """Return the seconds since each replica was heard; infinite when it never was."""
        replicas = self.snapshot.replicas
        return {
            number: max(0.0, self._now() - replicas[number].at) if number in replicas else math.inf
            for number in range(1, self.role.replicas + 1)
        }

    def feedback(self, body: bytes) -> tuple[Future[int], int]:
        """Log labels; the future's result is how many are new, of the number also returned.

        Raises:
            InvalidInput: a label is malformed; the message names it.
            Unavailable: too much waits already, or the names of classes or targets are not known
                yet.
        """
        core = self.snapshot
        if self.config.classification and self.config.positive and not core.champion:
            # Which names there are is the reference's to say; a wrong one must not be taken.
            raise Unavailable(
                "the model's classes are not known yet", fix="send labels once a version serves"
            )
        with foreign():
            labels = read_feedback(body, self.config, core.classes, Targets.of(core, self.config))
        return self._log.append_labels(labels), len(labels)

    def put_reference(self, version: str, body: bytes) -> Future[int]:
        """Copy a version's reference and log it; with ``champion`` windows start against it.

        Raises:
            InvalidInput: the folder does not hold a reference.
        """
        with foreign():
            found = msgspec.json.decode(body, type=PutReference)
            files = read_folder(Path(found.path))
        return self._keep_reference(version, files, champion=found.champion)

    def put_reference_zip(self, version: str, body: bytes, *, champion: bool) -> Future[int]:
        """Do the same with a reference that is in the body, as a zip of its two files.

        Raises:
            InvalidInput: the zip does not hold a reference.
            Unavailable: the disk does not take it.
        """
        with self._keeping, foreign():
            files = unpacked(body)
        return self._keep_reference(version, files, champion=champion)

    def _keep_reference(
        self, version: str, files: Mapping[str, bytes], *, champion: bool
    ) -> Future[int]:
        if not version:
            raise InvalidInput("version: empty")
        bounded_text(version, "version", MAX_VERSION_CHARS)
        # One at a time: it may take hundreds of MiB to read.
        with self._keeping:
            with foreign():
                thresholds = read_reference(files).thresholds
            kept = keep_reference(files, self._home / "references", version)
        return self._log.append([(0, encode(ReferenceRecord(version, kept, champion, thresholds)))])

    def drop(self, reason: str, count: int) -> None:
        """Count events that were refused or lost before the log."""
        self._dropped[reason] = self._dropped.get(reason, 0) + count

    # What may be asked ------------------------------------------------------------------------

    @property
    def snapshot(self) -> MonitorState:
        """What is processed and committed."""
        return self._runner.snapshot

    @property
    def backlog(self) -> int:
        """Records that are logged and not yet processed."""
        return max(0, self._log.end - self.snapshot.offset)

    @property
    def problem(self) -> str:
        """Why processing is held up, or nothing can be logged; empty when all is well."""
        health = self.health()
        return "" if health.can_write and health.can_process else health.problem

    @property
    def log_problem(self) -> str:
        """Why the last write to the log failed; empty when it did not."""
        return self._log.problem

    def health(self) -> Health:
        """Return what is really so: what it can do, and how each of its threads is."""
        writes = self._log.problem or trouble(self._log.worker, WRITE_PATIENCE)
        works = self._runner.problem or trouble(self._runner.worker, STEP_PATIENCE)
        blind = self._processor.blind
        workers = states(self._workers())
        problem = works or writes or blind or next((w.problem for w in workers.values()), "")
        return Health(
            ok=not problem,
            problem=problem,
            can_write=not writes,
            can_process=not works,
            blind=blind,
            backlog=self.backlog,
            workers=workers,
        )

    @property
    def hopeless(self) -> str:
        """What only a new start mends; empty when nothing is.

        A thread that is stuck can't be ended from within, and a file that is damaged is mended
        when it is opened.
        """
        for worker, patience in self._workers():
            if worker.stuck(patience):
                return trouble(worker, patience)
        return self._processor.damaged or (self._log.problem if self._log.damaged else "")

    def _workers(self) -> tuple[tuple[Worker, float], ...]:
        """Return its threads, each with the seconds that a step may take."""
        own: tuple[tuple[Worker, float], ...] = (
            (self._log.worker, WRITE_PATIENCE),
            (self._runner.worker, STEP_PATIENCE),
        )
        sender = self._sender
        if self._served is not None:
            own = (*own, (self._served.worker, PATIENCE))
        return own if sender is None else (*own, (sender.worker, 2 * sender.worker.every))

    def dropped(self) -> dict[str, int]:
        """Return how many events or rows were lost, by reason."""
        counts = self.snapshot.counts
        return {
            # At zero from the start: increase() misses a series that appears late.
            **dict.fromkeys(_LOST_BEFORE_THE_LOG, 0),
            **self._dropped,
            "blind": counts.blind_rows,
            "damaged-window": counts.lost_rows,
            "mismatched": counts.mismatched,
            "other-reference": counts.other_reference,
            "lost-partial": sum(replica.lost for replica in self.snapshot.replicas.values()),
            "orphan-label": counts.orphan_labels,
            "unlabelled": counts.unlabelled,
            "unpaired": counts.unpaired,
            "unreadable": counts.unreadable,
            "uncorrected": counts.uncorrected,
            **({} if self._served is None else {"unkept": counts.unkept}),
            **({} if self._sender is None else {"refused-partial": self._sender.refused}),
        }

    def now(self) -> float:
        """Return the time that arrivals are measured in, epoch seconds."""
        return self._now() if self._clock == "wall" else self.snapshot.watermark

    def label_lag(self) -> float:
        """Return by how many seconds of arrivals the labels are behind the predictions."""
        core = self.snapshot
        return core.last_prediction_at - (core.last_labelled_at or core.first_prediction_at)

    def window_age(self) -> float:
        """Return the seconds since the last drift window (before any: since the first row)."""
        core = self.snapshot
        since = core.last_window_at or core.first_prediction_at
        if not since:
            return 0.0
        by_the_wall = max(0.0, self.now() - since)
        if self._clock == "event":
            return by_the_wall
        # A wall clock that was set back must not hide a silence.
        moment = self._elapsed()
        if self._silence[0] != since:
            self._silence = (since, by_the_wall, moment)
        return max(by_the_wall, self._silence[1] + moment - self._silence[2])

    def flush(self) -> dict[str, Any]:
        """Process all that is logged now, and return the counts.

        Raises:
            Unavailable, MonitoringError: it takes too long, or can't be done.
        """
        counts = self._counts(self._runner.drain(_FLUSH_SECONDS))
        if self._served is not None:
            self._served.write()
        return counts

    def served(self) -> Listing:
        """Return the parts of the table of labelled rows; a flush before writes what waits.

        Raises:
            InvalidInput: No rows are kept.
            StoreError: They can't be read now.
        """
        table = self._table()
        return Listing(tuple(part.name for part in table.parts()), table.damaged())

    def served_part(self, name: str) -> bytes | None:
        """Return a part of that table; None when there is none of that name.

        Raises:
            InvalidInput: No rows are kept.
            IntegrityError: It is damaged, and set aside.
        """
        table, part = self._table(), part_of(name)
        try:
            return None if part is None else table.read(part)
        except FileNotFoundError:
            return None

    def _table(self) -> ServedTable:
        if self._served is None:
            raise InvalidInput("the rows that were served are not kept", fix="set spec.data.served")
        return self._served.table

    def measure(self, metric: str, version: str | None, since: float) -> tuple[str, Measurement]:
        """Measure a version (None: the champion) on rows that arrived at or after ``since``.

        Returns:
            The version, and the measurement at confidence 0.95. Metric ``labelled-rows`` counts
            the rows that got a label since then, of one version or (None) of all;
            ``rows-per-day`` is how many rows of all were logged a day, as of late.

        Raises:
            InvalidInput: the metric is unknown, or a family's own fails.
        """
        if metric == LABELLED_ROWS:
            with self._reading:
                rows = self._reader.labelled_rows(since, version)
            return version or "", Measurement(metric, float(rows), samples=rows)
        if metric == ROWS_PER_DAY:
            return version or "", self._rate()
        wanted, known = version or self.snapshot.champion, self.config.family.named(metric)
        with self._reading:
            scores, labels, baseline = self._reader.outcomes(wanted, since)
        limits = self.snapshot.thresholds.get(wanted, ())
        classes = len(self.snapshot.classes)
        return wanted, measure(
            known, scores, labels, classes=classes, thresholds=limits, baseline=baseline
        )

    def _rate(self) -> Measurement:
        """Measure the traffic by its newest windows, or from its beginning until there are some.

        Less than a day tells no rate: traffic has its days and nights.
        """
        core = self.snapshot
        with self._reading:
            newest = self._reader.windows("features", _RATE_WINDOWS)
        ends = [msgspec.json.decode(body, type=_Ended).at for body in newest]
        ends = [at for at in ends if at >= core.last_prediction_at - _RATE_SECONDS]
        rows, seconds = core.counts.rows, core.last_prediction_at - core.first_prediction_at
        if ends and ends[-1] - ends[0] >= _DAY_SECONDS:
            rows, seconds = (len(ends) - 1) * self.config.window_rows, ends[-1] - ends[0]
        if seconds < _DAY_SECONDS:
            return Measurement(ROWS_PER_DAY, None, samples=rows)
        return Measurement(ROWS_PER_DAY, rows / (seconds / _DAY_SECONDS), samples=rows)

    def signals(self) -> list[msgspec.Raw]:
        """Return the signals about the present champion, oldest first, as JSON."""
        with self._reading:
            found = self._reader.signals(self.snapshot.champion, _SIGNALS)
        return [msgspec.Raw(body) for body in found]

    def windows(self, stream: str, limit: int) -> list[msgspec.Raw]:
        """Return what the newest windows of a stream said, oldest first, as JSON.

        Raises:
            InvalidInput: that many are not kept.
        """
        if not 1 <= limit <= _MAX_WINDOWS:
            raise InvalidInput(f"limit: {shorten(limit)} is not from 1 to {_MAX_WINDOWS}")
        with self._reading:
            found = self._reader.windows(stream, limit)
        return [msgspec.Raw(body) for body in found]

    def status(self) -> dict[str, Any]:
        """Return everything a person asks first, ready for JSON."""
        core = self.snapshot
        return {
            "model": self.config.model,
            "champion": core.champion,
            "targets": core.targets,
            "thresholds": core.thresholds,
            "references": core.references,
            "counts": self._counts(core),
            "watermark": core.watermark or None,
            "windows": {
                name: {"index": s.number, "rows": s.rows} for name, s in core.streams.items()
            },
            "waiting": dict(waiting(self.config, core, lambda name: self._rows_of(core, name))),
            "aside": core.aside,
            "drift": core.drift,
            "alarms": core.drifts,
            "quality": core.quality,
            "performance": core.performance,
            "expected": core.expected,
            "label_lag_seconds": self.label_lag(),
            "label_delay_seconds": core.label_delay,
            "last_window_age_seconds": self.window_age(),
            "blind": self._processor.blind,
            "problems": core.problems | self._problems(),
            "replicas": core.replicas,
            "signals": self.signals(),
        }

    def _rows_of(self, core: MonitorState, stream: str) -> int:
        """Return how many rows the open window of a stream has."""
        gathered = core.gathered.get(stream)
        opened = core.streams.get(stream)
        return gathered.rows if gathered else opened.rows if opened else 0

    def close(self) -> None:
        """Stop processing and close the files; what is in the log stays for the next start."""
        if self._sender is not None:
            self._sender.stop()
        ended = self._runner.stop()
        if self._served is not None:
            self._served.stop()
        self._log.close()
        with self._reading:
            self._reader.close()
        if ended:
            self._state.close()

    def failing(self) -> dict[str, str]:
        """Return why metrics that are watched can't be measured, or failed on the last window."""
        found = {**self.snapshot.failing, **self.config.missing}
        return {name: found[name] for name in self.config.metrics if name in found}

    def _problems(self) -> dict[str, str]:
        health = self.health()
        said = {
            "processing": self.problem,
            "reference": health.blind,
            "left out": self._processor.left_out,
            "targets": self.snapshot.renamed,
            SET_ASIDE: self._set_aside(),
            "aggregator": "" if self._sender is None else self._sender.problem,
            "served": self._unkept(),
        }
        said |= {f"thread {name}": worker.problem for name, worker in health.workers.items()}
        said |= {f"metric {name}": problem for name, problem in self.failing().items()}
        found = {name: problem for name, problem in said.items() if problem}
        for number, seconds in self.silence().items():
            if seconds > SILENT_SECONDS:
                found[f"replica {number}"] = "its rows are missing: it is silent"
        return found

    def _unkept(self) -> str:
        """Say why labelled rows are not written to the table; empty: they are."""
        keeping = self.config.keeping
        if self._served is None or keeping is None:
            return ""
        core = self.snapshot
        names = core.targets or names_of(core, keeping, core.widths.get(core.champion, 0))
        return self._served.problem or keeping.refusal(names or ())

    def _counts(self, core: MonitorState) -> dict[str, Any]:
        counts: dict[str, Any] = msgspec.to_builtins(core.counts)
        return {
            **counts,
            "received": self._log.end,
            "processed": core.offset,
            "dropped": self.dropped(),
            "versions": core.rows_by_version,
            "sources": labels_by_source(core),
            "signals": sum(core.signals.values()),
        }

    def damaged_files(self) -> tuple[str, ...]:
        """Return the files that were set aside."""
        return tuple(str(path.relative_to(self._home)) for path in damaged(self._home))

    def _set_aside(self) -> str:
        names = ", ".join(self.damaged_files())
        return f"{names}: set aside as damaged; delete it once you have looked" if names else ""
