"""One model's monitor, without HTTP: what may be asked of it, and what it answers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from monitoring.blocks import read_block
from monitoring.config import MonitorConfig
from monitoring.core import Core
from monitoring.events import media_type, read_events
from monitoring.feedback import read_feedback
from monitoring.log import EventLog
from monitoring.measures import Measured, measure, unmeasured
from monitoring.partials.gathering import SILENT_SECONDS
from monitoring.partials.sender import Sender
from monitoring.payload import read_payload
from monitoring.processor import ALONE, ArrivalClock, Part, Processor
from monitoring.readers import Outbox, StateReader
from monitoring.records import PartialRecord, ReferenceRecord, encode
from monitoring.reference import Reference, keep_reference, read_reference
from monitoring.runner import Runner
from monitoring.state import State
from monitoring.upload import unpacked
from noria.errors import InvalidInput, Unavailable, shorten
from noria.loop.ports import LABELLED_ROWS
from noria.predictions import MEDIA_TYPE

_SIGNALS: Final = 200
_LOST_BEFORE_THE_LOG: Final = ("backlog", "not-written", "refused")
_FLUSH_SECONDS: Final = 300.0


class PutReference(msgspec.Struct):
    """The body of ``PUT /models/{m}/versions/{v}/reference``."""

    path: str
    champion: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a monitor keeps its files, and what it takes as arrival time.

    A replica (``part``) sends to the ``aggregator``'s URL; without one its partials stay.
    With ``max_backlog`` records that are logged and not yet processed, events are refused.
    """

    home: Path
    clock: ArrivalClock = "wall"
    max_backlog: int = 2_000_000
    part: Part = ALONE
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
        home = setting.home
        (home / "references").mkdir(parents=True, exist_ok=True)
        self.config = config
        self._home = home
        self._clock = setting.clock
        self._max_backlog = setting.max_backlog
        self._now = now
        self._elapsed = elapsed
        self._silence = (0.0, 0.0, 0.0)
        self._state = State(home / "state.db")
        self._log = EventLog(home / "log.db", now, processed=self._state.core().offset)
        self._reader = StateReader(home / "state.db")
        self._reading = threading.Lock()
        self.part = part = _living(setting.part, home)
        self._runner = Runner(
            Processor(config, self._log, self._state, home, setting.clock, part=part), self._log
        )
        self._sender: Sender | None = None
        if part.replica is not None and setting.aggregator:
            outbox = Outbox(home / "state.db")
            self._sender = Sender(outbox, part.replica, setting.aggregator)
        self._dropped: dict[str, int] = {}
        self._champion: tuple[str, Reference | None] = ("", None)
        self._log.on_append(self._runner.wake)
        self._runner.start()
        self._runner.wake()

    # What comes in ----------------------------------------------------------------------------

    def accept(self, headers: Mapping[str, str], body: bytes) -> Future[int]:
        """Log the payload events of one HTTP request; the future ends when they are durable.

        Counts the events that there is no room for as dropped. Events that are no
        events, and a future that fails, are the caller's to count.

        Raises:
            InvalidInput: they are no events of this model; the message names the field.
            Unavailable: too much waits already; they are dropped and counted.
        """
        if media_type(headers) == MEDIA_TYPE:
            block = read_block(body, self.config)
            return self._append([(block.rows, encode(block))], 2 * len(block.ids))
        events = read_events(headers, body)
        records = []
        for event in events:
            if event.model and event.model != self.config.model:
                raise InvalidInput(
                    f"inferenceservicename: {shorten(event.model)} is not watched here",
                    fix=f"this monitor watches {self.config.model!r}",
                )
            record = read_payload(event, self.config)
            records.append((record.rows, encode(record)))
        return self._append(records, len(records))

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
            InvalidInput: they are no partials, or this monitor does not aggregate.
            Unavailable: too much waits already.
        """
        try:
            found = msgspec.msgpack.decode(body, type=list[PartialRecord])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"body: no partials: {error}") from error
        for i, record in enumerate(found):
            if not 1 <= record.replica <= self.part.replicas or record.seq < 0 or record.rows < 0:
                raise InvalidInput(
                    f"[{i}].replica: {record.replica} is not one of {self.part.replicas} replicas",
                    fix="start the aggregator with --replicas N",
                )
        return self._log.append([(record.rows, encode(record)) for record in found])

    def silence(self) -> dict[int, float]:
        """Return the seconds since each replica was heard; infinite when it never was."""
        replicas = self.snapshot.replicas
        return {
            number: max(0.0, self._now() - replicas[number].at) if number in replicas else math.inf
            for number in range(1, self.part.replicas + 1)
        }

    def feedback(self, body: bytes) -> tuple[Future[int], int]:
        """Log labels; the future's result is how many are new, of the number also returned.

        Raises:
            InvalidInput: a label is malformed; the message names it.
            Unavailable: too much waits already.
        """
        known = self._known() if self.config.classification else None
        labels = read_feedback(body, self.config, known)
        return self._log.append_labels(labels), len(labels)

    def put_reference(self, version: str, body: bytes) -> Future[int]:
        """Copy a version's reference and log it; with ``champion`` windows start against it.

        Raises:
            InvalidInput: the folder does not hold a reference.
        """
        try:
            found = msgspec.json.decode(body, type=PutReference)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"body: {error}") from error
        return self._keep_reference(version, Path(found.path), champion=found.champion)

    def put_reference_zip(self, version: str, body: bytes, *, champion: bool) -> Future[int]:
        """Do the same with a reference that is in the body, as a zip of its two files.

        Raises:
            InvalidInput: the zip does not hold a reference.
        """
        with unpacked(body, self._home / "references") as folder:
            return self._keep_reference(version, folder, champion=champion)

    def _keep_reference(self, version: str, source: Path, *, champion: bool) -> Future[int]:
        if not version or len(version) > 64:
            raise InvalidInput(f"version: {shorten(version)} is empty or too long")
        read_reference(source)
        kept = keep_reference(source, self._home / "references", version)
        return self._log.append([(0, encode(ReferenceRecord(version, kept, champion)))])

    def drop(self, reason: str, count: int) -> None:
        """Count events that were refused or lost before the log."""
        self._dropped[reason] = self._dropped.get(reason, 0) + count

    # What may be asked ------------------------------------------------------------------------

    @property
    def snapshot(self) -> Core:
        """What is processed and committed."""
        return self._runner.snapshot

    @property
    def backlog(self) -> int:
        """Records that are logged and not yet processed."""
        return max(0, self._log.end - self.snapshot.offset)

    @property
    def problem(self) -> str:
        """Why processing is held up, or nothing can be logged; empty when all is well."""
        return self._runner.problem or self._log.problem

    @property
    def log_problem(self) -> str:
        """Why the last write to the log failed; empty when it did not."""
        return self._log.problem

    def dropped(self) -> dict[str, int]:
        """Return how many events or rows were lost, by reason."""
        counts = self.snapshot.counts
        return {
            # At zero from the start: an increase from nothing is none to Prometheus.
            **dict.fromkeys(_LOST_BEFORE_THE_LOG, 0),
            **self._dropped,
            "damaged-window": counts.lost_rows,
            "mismatched": counts.mismatched,
            "other-reference": counts.other_reference,
            "lost-partial": sum(replica.lost for replica in self.snapshot.replicas.values()),
            "orphan-label": counts.orphan_labels,
            "unlabelled": counts.unlabelled,
            "unpaired": counts.unpaired,
            "unreadable": counts.unreadable,
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
        return self._counts(self._runner.drain(_FLUSH_SECONDS))

    def measure(self, metric: str, version: str | None, since: float) -> tuple[str, Measured]:
        """Measure a version (None: the champion) on rows that arrived at or after ``since``.

        Returns:
            The version, and the measurement at confidence 0.95. Metric ``labelled-rows`` counts
            the rows that got a label since then, of one version or (None) of all.

        Raises:
            InvalidInput: the metric is unknown.
        """
        if metric == LABELLED_ROWS:
            with self._reading:
                rows = self._reader.labelled_rows(since, version)
            return version or "", Measured(float(rows), None, None, rows)
        wanted = version or self.snapshot.champion
        with self._reading:
            scores, labels = self._reader.outcomes(wanted, since)
        known = self._known()
        if known is not None and known.multiclass:
            return wanted, unmeasured(scores.size)
        return wanted, measure(metric, scores, labels)

    def signals(self) -> list[msgspec.Raw]:
        """Return the signals about the present champion, oldest first, as JSON."""
        with self._reading:
            found = self._reader.signals(self.snapshot.champion, _SIGNALS)
        return [msgspec.Raw(body) for body in found]

    def windows(self, stream: str, limit: int) -> list[msgspec.Raw]:
        """Return what the newest windows of a stream said, oldest first, as JSON."""
        with self._reading:
            found = self._reader.windows(stream, limit)
        return [msgspec.Raw(body) for body in found]

    def status(self) -> dict[str, Any]:
        """Return everything a person asks first, ready for JSON."""
        core = self.snapshot
        return {
            "model": self.config.model,
            "champion": core.champion,
            "references": core.references,
            "counts": self._counts(core),
            "watermark": core.watermark or None,
            "windows": {
                name: {"index": s.number, "rows": s.rows} for name, s in core.streams.items()
            },
            "drift": core.drift,
            "alarms": core.drifts,
            "quality": core.quality,
            "performance": core.performance,
            "expected": core.expected,
            "label_lag_seconds": self.label_lag(),
            "label_delay_seconds": core.label_delay,
            "last_window_age_seconds": self.window_age(),
            "problems": core.problems | self._problems(),
            "replicas": core.replicas,
            "signals": self.signals(),
        }

    def close(self) -> None:
        """Stop processing and close the files; what is in the log stays for the next start."""
        if self._sender is not None:
            self._sender.stop()
        self._runner.stop()
        self._log.close()
        with self._reading:
            self._reader.close()
        self._state.close()

    def _problems(self) -> dict[str, str]:
        found = {"processing": self.problem} if self.problem else {}
        if self._sender is not None and self._sender.problem:
            found["aggregator"] = self._sender.problem
        for number, seconds in self.silence().items():
            if seconds > SILENT_SECONDS:
                found[f"replica {number}"] = "its rows are missing: it is silent"
        return found

    def _counts(self, core: Core) -> dict[str, Any]:
        counts: dict[str, Any] = msgspec.to_builtins(core.counts)
        return {
            **counts,
            "received": self._log.end,
            "processed": core.offset,
            "dropped": self.dropped(),
            "versions": core.rows_by_version,
            "signals": sum(core.signals.values()),
        }

    def _known(self) -> Reference | None:
        """Return the champion's reference, None when there is none that can be read."""
        core = self.snapshot
        folder = core.references.get(core.champion, "")
        if folder != self._champion[0]:
            try:
                found = read_reference(self._home / "references" / folder)
            except InvalidInput:
                # The processor names it among the problems.
                return None
            self._champion = (folder, found)
        return self._champion[1]


def _living(part: Part, home: Path) -> Part:
    """Give a replica the name of its state's life, made when the state is."""
    if part.replica is None or part.replica.life:
        return part
    file = home / "life"
    if not file.exists():
        partial = file.with_suffix(".partial")
        partial.write_text(uuid4().hex)
        partial.replace(file)
    return replace(part, replica=replace(part.replica, life=file.read_text()))
