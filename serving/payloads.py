"""Predictions for the monitor, sent beside the requests, never in their way.

A request puts one small object in a bounded queue. A worker posts what waits there, many
at a time, over one keep-alive connection (``serving.sink``), one request a step. Whatever
one prediction does to the sink or to its writer, those after it go on: what was refused or
can't be written is cut in halves until it is alone, and is given up alone. When the sink is
slow or away the oldest are dropped. All that is lost is counted by its reason, two events
for each prediction: the request and the response.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from time import time
from typing import Final
from zlib import crc32

from noria.seldom import Seldom
from noria.worker import Worker
from serving.metrics import nothing_lost
from serving.predicted import Predicted, Source, size_of
from serving.runner import Outcome
from serving.sink import Refused, Sink, Transient

_log: Final = logging.getLogger("serving.payloads")

_FIRST_BACKOFF: Final = 0.1
_LAST_BACKOFF: Final = 5.0
_IDLE: Final = 1.0
_EVERY: Final = 1 << 32
_EVENTS: Final = 2
_STRIKES: Final = 3
"""How often a sink that takes others may fail on one prediction."""
_LOG_SECONDS: Final = 10.0
_PARTS: Final = 4
_EXCHANGES: Final = 4
"""How many exchanges with the sink a step may take: a question, a block, two events."""


@dataclass(frozen=True, slots=True)
class PayloadSettings:
    """Where predictions go and which. Times are seconds; ``max_bytes`` is what may be held.

    ``batch`` is how many are taken from the queue at once, ``linger`` how long that many
    are waited for, ``timeout`` how long one exchange with the sink may take.
    """

    sink: str
    source: Source
    sample: float = 1.0
    max_events: int = 20_000
    max_bytes: int = 32 << 20
    batch: int = 1000
    linger: float = 0.1
    timeout: float = 10.0


def is_sampled(request_id: str, share: float) -> bool:
    """Say by its id alone whether a request is among the share that is logged."""
    threshold = int(share * _EVERY)
    return threshold >= _EVERY or crc32(request_id.encode(errors="surrogatepass")) < threshold


class PayloadLog:
    """A bounded queue of predictions and the worker that posts them.

    Raises:
        InvalidInput: The sink is not an HTTP URL.
    """

    def __init__(self, settings: PayloadSettings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._queue: deque[tuple[Predicted, int]] = deque()
        self._taken: deque[tuple[Predicted, int]] = deque()
        self._bytes = 0
        self._lost = nothing_lost()
        self._sent = 0
        self._withheld = ""
        self._trouble = ""
        self._closing = False
        self._limit = settings.batch
        self._backoff = _FIRST_BACKOFF
        self._posted = 0
        self._strikes: dict[int, tuple[int, int]] = {}
        self._seldom = Seldom(_LOG_SECONDS)
        self._sink = Sink(settings.sink, settings.source, settings.timeout)
        self.worker = Worker(
            "payloads", self._step, every=_EXCHANGES * settings.timeout + _LAST_BACKOFF
        )
        self.worker.start()

    def lost(self) -> Mapping[str, int]:
        """Return how many events were lost, by reason."""
        return self._lost

    def sent(self) -> int:
        """Return how many events the sink acknowledged."""
        return self._sent

    def held(self) -> tuple[int, int]:
        """Return how many events wait, and their bytes."""
        return _EVENTS * (len(self._queue) + len(self._taken)), self._bytes

    @property
    def problem(self) -> str:
        """Why predictions don't reach the sink now; empty when they do."""
        return self._withheld or self.worker.problem or self._trouble

    def withhold(self, why: str) -> None:
        """Send nothing, ever: what has to stay here can't be told from the rest."""
        _log.error("no prediction is sent to the sink: %s", why)
        self._withheld = f"no prediction is sent to the sink: {why}"

    def offer(self, request_id: str, outcome: Outcome, received: float) -> None:
        """Queue one prediction. Never blocks on the sink, never raises.

        Args:
            request_id: The id; its hash decides whether the request is sampled.
            outcome: What was seen and said.
            received: When the request came, seconds since 1970 UTC.
        """
        settings = self._settings
        if not is_sampled(request_id, settings.sample):
            return
        if self._withheld:
            self._lose("redaction")
            return
        size = size_of(outcome)
        if size > settings.max_bytes:
            self._lose("too-large")
            return
        with self._changed:
            self._queue.append((Predicted(request_id, outcome, received, time()), size))
            self._bytes += size
            while self._queue and self._over():
                self._bytes -= self._queue.popleft()[1]
                self._lose("full")
            if len(self._queue) in (1, settings.batch):
                self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Send what is queued, for at most ``timeout`` seconds, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._queue and not self._taken, timeout)
        # Asked to stop first, so that whoever waits for a sink that is away is woken for good.
        self.worker.stop(0)
        with self._changed:
            self._changed.notify_all()
        self.worker.stop(1.0)
        self._lose("closed", len(self._queue) + len(self._taken))
        self._sink.close()

    def _over(self) -> bool:
        settings = self._settings
        return self.held()[0] > settings.max_events or self._bytes > settings.max_bytes

    def _lose(self, reason: str, predictions: int = 1) -> None:
        self._lost[reason] += _EVENTS * predictions

    # -- on the worker

    def _step(self) -> None:
        if not self._taken and not self._take():
            return
        part = [entry for entry, _ in islice(self._taken, self._limit)]
        try:
            count = self._sink.post(part)
        except Refused as refused:
            self._give_up(part, "redirected" if refused.redirected else "refused", refused)
        except Transient as error:
            self._try_later(part, error)
        except Exception as error:  # noqa: BLE001 - whatever a prediction's values make of a writer
            self._give_up(part, "unwritable", error)
        else:
            self._sent += _EVENTS * count
            self._posted += 1
            self._trouble = ""
            self._limit = min(2 * self._limit, self._settings.batch)
            self._backoff = _FIRST_BACKOFF
            self._settle(count)

    def _take(self) -> bool:
        """Wait for entries; False when none came."""
        settings = self._settings
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue or self._closing, _IDLE):
                return False
            self._changed.wait_for(
                lambda: self._closing or len(self._queue) >= settings.batch, settings.linger
            )
            if not self._queue:
                self._changed.wait(settings.linger)  # closing: whoever closes looks in a moment
            self._fill()
        return bool(self._taken)

    def _fill(self) -> None:
        settings = self._settings
        taken = sum(size for _, size in self._taken)
        # A part of what may be held: what waits must be droppable when the sink is away.
        while self._queue and len(self._taken) < settings.batch:
            taken += self._queue[0][1]
            if self._taken and taken > settings.max_bytes // _PARTS:
                break
            self._taken.append(self._queue.popleft())

    def _settle(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                entry, size = self._taken.popleft()
                self._bytes -= size
                self._strikes.pop(id(entry), None)
            self._changed.notify_all()

    def _give_up(self, part: list[Predicted], reason: str, error: Exception) -> None:
        """Cut to halves what holds one that fails; give that one up."""
        if len(part) > 1:
            self._limit = len(part) // 2
            return
        self._lose(reason)
        self._trouble = f"a prediction was lost ({reason}): {_said(error)}"
        if count := self._seldom.now():
            _log.error("%d times, lately: %s", count, self._trouble)
        self._settle(1)

    def _try_later(self, part: list[Predicted], error: Exception) -> None:
        """Wait, and begin with another one: it may be this one that the sink fails on."""
        self._trouble = f"the sink {self._settings.sink} does not take them: {_said(error)}"
        if count := self._seldom.now():
            _log.warning("%d times, lately: %s", count, self._trouble)
        self._limit = max(1, len(part) // 2)
        if len(part) == 1:
            entry = part[0]
            strikes, posted = self._strikes.get(id(entry), (0, -1))
            if posted != self._posted:  # others were taken since it failed
                strikes += 1
            if strikes > _STRIKES:
                self._lose("failed")
                self._settle(1)
                return
            self._strikes[id(entry)] = (strikes, self._posted)
        with self._changed:
            if len(part) == 1:
                self._fill()
                self._taken.rotate(-1)
            if not self.worker.stopping:
                self._changed.wait(self._backoff)
        self._backoff = min(2 * self._backoff, _LAST_BACKOFF)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
